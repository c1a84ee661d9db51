//! `session.open` and `session.close`, and how a run joins a conversation.

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::OpenSession;
use nexus_events::run::{PreviousRun, Run, SessionLink, Status};
use nexus_events::session::{self, Attach, LastRun, Session};
use nexus_events::{Actor, AggregateId, RunId, SessionId};
use serde_json::json;

use crate::RunRole;

/// A run that joined and never began (its command went to the dead letters) blocks its session for
/// this long.
const JOINING_AT_MOST_MS: u64 = 60_000;

impl RunRole {
    pub(crate) async fn open_session(
        &self,
        delivery: &Delivery,
        command: OpenSession,
    ) -> Result<(), Failure> {
        let envelope = &delivery.envelope;
        let derived = || SessionId::derive(&[envelope.tenant.as_str(), envelope.id.as_str()]);
        let session_id = command.session_id.unwrap_or_else(derived);
        let id = AggregateId::from(session_id);
        let done = process::decide::<Session>(&self.store, &self.bus, delivery, &id, |state| {
            session::open(
                state,
                session_id,
                command.clone(),
                crate::start::actor(delivery),
            )
        })
        .await?;
        let outcome = json!({ "session_id": session_id, "seq": done.seq });
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }

    pub(crate) async fn close_session(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
    ) -> Result<(), Failure> {
        let id = AggregateId::from(session_id);
        let done = process::decide::<Session>(&self.store, &self.bus, delivery, &id, |state| {
            session::close(state, session_id)
        })
        .await?;
        let outcome = json!({ "session_id": session_id, "seq": done.seq });
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }

    /// Lets the run join its conversation, on the session's log first, so that two runs that race
    /// for it are put in order there.
    pub(crate) async fn join(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
        user: &Actor,
    ) -> Result<SessionLink, Failure> {
        let id = AggregateId::from(session_id);
        let tenant = &delivery.envelope.tenant;
        let last = {
            let session = process::load_latest::<Session>(&self.store, tenant, &id, 0).await?;
            session.state.last
        };
        let mut want = Attach {
            session_id,
            run_id,
            user: user.clone(),
            previous: None,
            busy: None,
            own_run_exists: false,
        };
        match last {
            Some(last) if last.run_id == run_id => {}
            Some(last) => self.look_at(delivery, &mut want, last).await?,
            None => self.look_at_own_run(delivery, &mut want).await?,
        }
        let done = process::decide::<Session>(&self.store, &self.bus, delivery, &id, |state| {
            // Whoever joined in between is busy; the command is tried again from the start.
            if state.last != last && state.last.is_some_and(|now| now.run_id != run_id) {
                let busy = state.last.map(|now| now.run_id);
                return session::attach(
                    state,
                    Attach {
                        busy,
                        ..want.clone()
                    },
                );
            }
            session::attach(state, want.clone())
        })
        .await?;
        let state = &done.guard.state;
        Ok(SessionLink {
            id: session_id,
            previous: state.last.and_then(|last| last.previous),
            budget: state.opened.as_ref().and_then(|opened| opened.budget),
            policy_context: state
                .opened
                .as_ref()
                .and_then(|opened| opened.policy_context.clone()),
        })
    }

    async fn look_at(
        &self,
        delivery: &Delivery,
        want: &mut Attach,
        last: LastRun,
    ) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let id = AggregateId::from(last.run_id);
        let run = process::load_latest::<Run>(&self.store, tenant, &id, last.attached_seq).await?;
        let state = &run.state;
        match state.status {
            Status::Unborn => {
                let waited = self.bus.now().millis_since(last.attached_at);
                want.busy = (waited < JOINING_AT_MOST_MS).then_some(last.run_id);
                want.previous = last.previous;
            }
            status if status.is_terminal() => want.previous = previous(state),
            _ => want.busy = Some(last.run_id),
        }
        Ok(())
    }

    async fn look_at_own_run(&self, delivery: &Delivery, want: &mut Attach) -> Result<(), Failure> {
        let own = RunId::new(want.session_id.uuid());
        let tenant = &delivery.envelope.tenant;
        let run = process::load_latest::<Run>(&self.store, tenant, &own.into(), 0).await?;
        let state = &run.state;
        want.own_run_exists = state
            .info()
            .is_some_and(|info| info.session.id == want.session_id);
        if want.own_run_exists {
            want.busy = (!state.status.is_terminal()).then_some(own);
            want.previous = previous(state);
        }
        Ok(())
    }
}

fn previous(run: &Run) -> Option<PreviousRun> {
    run.started.as_ref().map(|started| PreviousRun {
        run_id: started.event.run_id,
        first_seq: started.first_seq,
        context_tokens: run.context_tokens(),
    })
}
