//! Looks after the runs that wait for their turn in a session: [`session::next`] says what is to be
//! done, this does it, one step after another. Each step is there at once for whoever comes next, so
//! that a process which dies in between is followed by whoever gets its command, and of two that look
//! after one session at once either finds what the other has done.

use std::time::Duration;

use nexus_bus::{Delivery, Failure, process};
use nexus_events::command::{Due, NextRun, RunRef};
use nexus_events::run::{self, Run, RunEvent, Status};
use nexus_events::session::{self, MOST_QUEUED, Next, Place, Session};
use nexus_events::{AggregateId, CommandId, DomainError, RunId, SessionId};

use crate::RunRole;
use crate::busy::MAKE_WAY;

/// Steps for one command: each that waits may have to leave, and one begins.
const MOST_STEPS: usize = 3 * MOST_QUEUED;
/// When a session is looked at again whose last run has yet to begin.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The name of the commit by which a run learns that its turn has come.
const DEQUEUE: &str = "dequeue";

/// A run as it is now.
pub(crate) struct Found {
    pub(crate) run: Run,
    at: RunRef,
}

impl RunRole {
    /// A run of the session ended: who waited leaves, who waits for it has his turn.
    pub(crate) async fn next_run(
        &self,
        delivery: &Delivery,
        command: &NextRun,
    ) -> Result<(), Failure> {
        if let Some(run_id) = command.run_id {
            self.leave(delivery, command.session_id, run_id).await?;
        }
        self.look_after(delivery, command.session_id).await
    }

    /// A run that waits has begun: its session is looked after, now that whoever goes on before it can
    /// find it there. Says whether it still waits.
    pub(crate) async fn wait_in_line(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
    ) -> Result<bool, Failure> {
        self.look_after(delivery, session_id).await?;
        let session = self.session(delivery, session_id).await?;
        let found = self.find(delivery, run_id, 0).await?;
        if found.run.status != Status::Queued || session.place(run_id).is_some() {
            return Ok(found.run.status == Status::Queued);
        }
        // Before it had begun, the session was closed, or its turn passed.
        let reason = Some("it began too late for its turn in the session".to_owned());
        let cancel = |run: &Run| match run.status {
            Status::Queued => run::cancel(run, reason.clone()),
            _ => Ok(vec![]),
        };
        self.on_run(delivery, found.at, "too late", cancel).await?;
        Ok(false)
    }

    /// A command is refused of which an earlier delivery was not: what that did is brought to its end.
    /// Whom it cancelled gives back what it held, and nobody waits for a run that never begins.
    pub(crate) async fn give_up_place(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
    ) -> Result<(), Failure> {
        let id = AggregateId::from(session_id);
        let nothing = |_: &Session| Ok(vec![]);
        let (store, bus) = (&self.store, &self.bus);
        let done = process::decide::<Session>(store, bus, delivery, &id, nothing).await?;
        let (is_ours, place) = (!done.fresh, done.guard.state.place(run_id));
        let latest = done.guard.state.latest(session_id);
        drop(done);
        for cancelled in latest {
            let run = self.find(delivery, cancelled, 0).await?.at;
            process::complete(bus, store, delivery, run, MAKE_WAY).await?;
        }
        let unborn = self.find(delivery, run_id, 0).await?.run.status == Status::Unborn;
        if is_ours && unborn && matches!(place, Some(Place::Queued(_))) {
            self.leave(delivery, session_id, run_id).await?;
            self.look_after(delivery, session_id).await?;
        }
        Ok(())
    }

    /// The session with all that is on the log.
    async fn session(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
    ) -> Result<Session, Failure> {
        let id = AggregateId::from(session_id);
        // Of what may be old nothing is concluded: to decide nothing reads it as it is now.
        let nothing = |_: &Session| Ok(vec![]);
        let (store, bus) = (&self.store, &self.bus);
        let done = process::decide_as::<Session>(store, bus, delivery, &id, "look", nothing);
        Ok(done.await?.guard.state.clone())
    }

    /// Does what is to be done for those that wait in a session.
    pub(crate) async fn look_after(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
    ) -> Result<(), Failure> {
        for step in 0..MOST_STEPS {
            let session = self.session(delivery, session_id).await?;
            let (last_id, from_seq) = match session.last {
                Some(last) => (last.run_id, last.attached_seq),
                None => (RunId::new(session_id.uuid()), 0),
            };
            let last = self.find(delivery, last_id, from_seq).await?;
            if step == 0 {
                // An earlier delivery may have told it, and died before it did what that made due.
                let (bus, store) = (&self.bus, &self.store);
                process::complete(bus, store, delivery, last.at, DEQUEUE).await?;
            }
            let first = match session.queue.front() {
                Some(first) => self.find(delivery, first.run_id, first.seq).await?.run,
                None => Run::default(),
            };
            let next = session::next(&session, &last.run, &first, self.bus.now());
            if !self
                .step(delivery, &session, session_id, last.at, next)
                .await?
            {
                return Ok(());
            }
        }
        Err(Failure::retry("the session's queue does not come to rest"))
    }

    /// Does one thing; false when nothing is left to do.
    async fn step(
        &self,
        delivery: &Delivery,
        session: &Session,
        session_id: SessionId,
        last: RunRef,
        next: Next,
    ) -> Result<bool, Failure> {
        let id = AggregateId::from(session_id);
        match next {
            Next::Rest => return Ok(false),
            Next::Tell {
                previous, awaited, ..
            } => {
                let tell = |run: &Run| Ok(run::dequeue(run, previous, awaited));
                self.on_run(delivery, last, DEQUEUE, tell).await?;
            }
            Next::Await(_) => {
                let wait = |run: &Run| Ok(run::wait_for(run));
                // Where it has ended meanwhile, its end did not know that somebody waits.
                return Ok(self.on_run(delivery, last, "await", wait).await?.ended);
            }
            Next::LookAgain => {
                let again = NextRun {
                    session_id,
                    run_id: None,
                };
                let due = Due {
                    id: CommandId::derive(delivery.envelope.id.as_str(), "look again"),
                    command: again.into(),
                    actor: None,
                    at: Some(
                        self.bus
                            .now()
                            .plus_millis(LOOKS_AGAIN_AFTER.as_millis() as u64),
                    ),
                };
                process::publish_due(&self.bus, delivery, vec![due]).await?;
                return Ok(false);
            }
            Next::Join { run_id, previous } => {
                let after = session.last.map(|last| last.run_id);
                let label = format!("begin {run_id}");
                let join = |now: &Session| Ok(session::begin(now, run_id, previous, after));
                process::decide_as(&self.store, &self.bus, delivery, &id, &label, join).await?;
            }
            Next::Cancel(run_id) => {
                let first_seq = (session.queue.front()).map_or(0, |first| first.seq);
                let run = self.find(delivery, run_id, first_seq).await?.at;
                let reason = Some("the session was closed before its turn came".to_owned());
                let cancel = |run: &Run| match run.status {
                    Status::Queued => run::cancel(run, reason.clone()),
                    _ => Ok(vec![]),
                };
                self.on_run(delivery, run, "closed", cancel).await?;
                self.leave(delivery, session_id, run_id).await?;
            }
            Next::Leave(run_id) => self.leave(delivery, session_id, run_id).await?,
        }
        Ok(true)
    }

    async fn leave(
        &self,
        delivery: &Delivery,
        session_id: SessionId,
        run_id: RunId,
    ) -> Result<(), Failure> {
        let id = AggregateId::from(session_id);
        let label = format!("leave {run_id}");
        let leave = |session: &Session| Ok(session::leave(session, run_id));
        process::decide_as(&self.store, &self.bus, delivery, &id, &label, leave).await?;
        Ok(())
    }

    async fn on_run(
        &self,
        delivery: &Delivery,
        run: RunRef,
        label: &str,
        decide: impl FnMut(&Run) -> Result<Vec<RunEvent>, DomainError>,
    ) -> Result<process::Advanced, Failure> {
        process::decide_run(&self.bus, &self.store, delivery, run, label, decide).await
    }

    pub(crate) async fn find(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        from_seq: u64,
    ) -> Result<Found, Failure> {
        let tenant = &delivery.envelope.tenant;
        let found =
            process::load_latest::<Run>(&self.store, tenant, &run_id.into(), from_seq).await?;
        let at = RunRef {
            run_id,
            first_seq: found.first_seq,
            last_seq: found.seq,
        };
        let run = found.state.clone();
        Ok(Found { run, at })
    }
}
