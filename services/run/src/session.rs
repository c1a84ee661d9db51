//! `session.open` and `session.close`, and how a run joins a conversation.

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::OpenSession;
use nexus_events::run::{InQueue, SessionLink, Status};
use nexus_events::session::{self, Attach, JOINING_AT_MOST_MS, LastRun, OnBusy, Place, Session};
use nexus_events::{AggregateId, DomainError, RunId, SessionId};
use serde_json::json;

use crate::RunRole;
use crate::busy::{BETWEEN_LOOKS, LOOKS};

/// A run's place in its conversation.
pub(crate) struct Joined {
    pub(crate) link: SessionLink,
    /// Where it waits for its turn.
    pub(crate) queued: Option<InQueue>,
}

impl Joined {
    /// In a conversation of its own.
    pub(crate) fn alone(run_id: RunId) -> Self {
        let link = SessionLink {
            id: run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        };
        let queued = None;
        Self { link, queued }
    }
}

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
        drop(done);
        // Those that wait will not have their turn.
        self.look_after(delivery, session_id).await?;
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }

    /// Lets the run join its conversation, or wait for its turn in it, on the session's log first, so
    /// that two runs that race for it are put in order there. Who takes another's place looks again
    /// while that is between joining and beginning, when there is nothing yet that could be
    /// cancelled.
    pub(crate) async fn join(
        &self,
        delivery: &Delivery,
        ids: (SessionId, RunId),
        on_busy: Option<OnBusy>,
        may_wait: bool,
    ) -> Result<Joined, Failure> {
        for _ in 1..LOOKS {
            match self.try_to_join(delivery, ids, on_busy, may_wait).await {
                (OnBusy::Interrupt | OnBusy::Rollback, Err(busy)) if is_busy(&busy) => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                (_, outcome) => return outcome,
            }
        }
        self.try_to_join(delivery, ids, on_busy, may_wait).await.1
    }

    async fn try_to_join(
        &self,
        delivery: &Delivery,
        (session_id, run_id): (SessionId, RunId),
        on_busy: Option<OnBusy>,
        may_wait: bool,
    ) -> (OnBusy, Result<Joined, Failure>) {
        let id = AggregateId::from(session_id);
        let tenant = &delivery.envelope.tenant;
        let seen = match process::load_latest::<Session>(&self.store, tenant, &id, 0).await {
            Ok(session) => {
                let opened = session.state.opened.as_ref();
                let way = on_busy.or_else(|| opened.and_then(|opened| opened.on_busy));
                let way = way.filter(|way| may_wait || *way != OnBusy::Enqueue);
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
    ) -> Result<Joined, Failure> {
        let id = AggregateId::from(session_id);
        let mut want = Attach {
            session_id,
            run_id,
            user: crate::start::actor(delivery),
            previous: None,
            busy: None,
            own_run_exists: false,
            on_busy: way,
        };
        match last {
            Some(last) if last.run_id == run_id => {}
            Some(last) => self.look_at(delivery, &mut want, last, way).await?,
            None => self.look_at_own_run(delivery, &mut want, way).await?,
        }
        let decide = |state: &Session| {
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
        };
        let (store, bus) = (&self.store, &self.bus);
        let mut done =
            process::decide_as::<Session>(store, bus, delivery, &id, "", &decide).await?;
        let mut place = done.guard.state.place(run_id);
        if place.is_none() {
            // It was so long in joining that others have joined after it: it comes to the end of them.
            let label = format!("join after {}", done.guard.seq);
            drop(done);
            done = process::decide_as(store, bus, delivery, &id, &label, &decide).await?;
            place = done.guard.state.place(run_id);
        }
        let (previous, queued) = match place {
            Some(Place::Joined(last)) => (last.previous, None),
            Some(Place::Queued(place)) => (None, Some(InQueue { seq: place.seq })),
            None => return Err(Failure::retry("others joined the session at the same time")),
        };
        let opened = done.guard.state.opened.as_ref();
        let link = SessionLink {
            id: session_id,
            previous,
            budget: opened.and_then(|opened| opened.budget),
            policy_context: opened.and_then(|opened| opened.policy_context.clone()),
        };
        Ok(Joined { link, queued })
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
