//! `session.open` and `session.close`, and how a run joins a conversation.

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::OpenSession;
use nexus_events::run::{SessionLink, Status};
use nexus_events::session::{self, Attach, LastRun, OnBusy, Session};
use nexus_events::{AggregateId, DomainError, RunId, SessionId};
use serde_json::json;

use crate::RunRole;
use crate::busy::{BETWEEN_LOOKS, LOOKS};

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
    /// for it are put in order there. Who does not want to be refused looks again while another is
    /// between joining and beginning, when there is nothing yet that could be cancelled.
    pub(crate) async fn join(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
        on_busy: Option<OnBusy>,
    ) -> Result<SessionLink, Failure> {
        for _ in 1..LOOKS {
            match self
                .try_to_join(delivery, session_id, run_id, on_busy)
                .await
            {
                (OnBusy::Interrupt | OnBusy::Rollback, Err(busy)) if is_busy(&busy) => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                (_, outcome) => return outcome,
            }
        }
        self.try_to_join(delivery, session_id, run_id, on_busy)
            .await
            .1
    }

    async fn try_to_join(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
        on_busy: Option<OnBusy>,
    ) -> (OnBusy, Result<SessionLink, Failure>) {
        let id = AggregateId::from(session_id);
        let tenant = &delivery.envelope.tenant;
        let seen = match process::load_latest::<Session>(&self.store, tenant, &id, 0).await {
            Ok(session) => {
                let opened = session.state.opened.as_ref();
                let way = on_busy.or_else(|| opened.and_then(|opened| opened.on_busy));
                (way.unwrap_or_default(), session.state.last)
            }
            Err(error) => return (OnBusy::Reject, Err(error.into())),
        };
        (
            seen.0,
            self.join_after(delivery, (session_id, run_id), seen).await,
        )
    }

    async fn join_after(
        &self,
        delivery: &Delivery,
        (session_id, run_id): (SessionId, RunId),
        (way, last): (OnBusy, Option<LastRun>),
    ) -> Result<SessionLink, Failure> {
        let id = AggregateId::from(session_id);
        let mut want = Attach {
            session_id,
            run_id,
            user: crate::start::actor(delivery),
            previous: None,
            busy: None,
            own_run_exists: false,
        };
        match last {
            Some(last) if last.run_id == run_id => {}
            Some(last) => self.look_at(delivery, &mut want, last, way).await?,
            None => self.look_at_own_run(delivery, &mut want, way).await?,
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
        way: OnBusy,
    ) -> Result<(), Failure> {
        let seen = self.see(delivery, last.run_id, last.attached_seq).await?;
        if seen.status == Status::Unborn {
            let waited = self.bus.now().millis_since(last.attached_at);
            want.busy = (waited < JOINING_AT_MOST_MS).then_some(last.run_id);
            want.previous = last.previous;
            return Ok(());
        }
        self.make_way(delivery, want, seen, last.previous, way)
            .await
    }

    async fn look_at_own_run(
        &self,
        delivery: &Delivery,
        want: &mut Attach,
        way: OnBusy,
    ) -> Result<(), Failure> {
        let own = RunId::new(want.session_id.uuid());
        let seen = self.see(delivery, own, 0).await?;
        want.own_run_exists = seen.opened_its_own;
        if want.own_run_exists {
            self.make_way(delivery, want, seen, None, way).await?;
        }
        Ok(())
    }
}

fn is_busy(failure: &Failure) -> bool {
    matches!(failure, Failure::Reject(DomainError::SessionBusy { .. }))
}
