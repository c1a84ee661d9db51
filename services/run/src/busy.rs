//! What becomes of a conversation's last run when another wants to join: it has ended, or keeps the
//! other out, or is cancelled for it. Cancelling is a commit of the newcomer's own command on the
//! other run, made before the newcomer joins: whoever handles the command again finds that commit,
//! and so knows for whom the run was cancelled.

use std::time::Duration;

use nexus_bus::{Delivery, Failure, process};
use nexus_events::command::RunRef;
use nexus_events::run::{self, PreviousRun, Run, Status, previous};
use nexus_events::session::{Attach, OnBusy};
use nexus_events::{AggregateId, RunId};

use crate::RunRole;

/// The name of the cancellation among the commits of one command.
pub(crate) const MAKE_WAY: &str = "make way";
/// How often somebody who does not want to be refused looks again, while another is just joining.
pub(crate) const LOOKS: u32 = 40;
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A run as it was seen.
pub(crate) struct Seen {
    pub(crate) status: Status,
    pub(crate) previous: Option<PreviousRun>,
    /// It never had its turn, and is no part of the conversation.
    pub(crate) queued: bool,
    pub(crate) run: RunRef,
    /// Whether it is of the conversation that its id names.
    pub(crate) opened_its_own: bool,
}

impl RunRole {
    pub(crate) async fn see(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        from_seq: u64,
    ) -> Result<Seen, Failure> {
        let tenant = &delivery.envelope.tenant;
        let id = AggregateId::from(run_id);
        let run = process::load_latest::<Run>(&self.store, tenant, &id, from_seq).await?;
        let state = &run.state;
        let own = run_id.own_session();
        Ok(Seen {
            status: state.status,
            previous: previous(state),
            queued: state.queued,
            run: RunRef {
                run_id,
                first_seq: run.first_seq,
                last_seq: run.seq,
            },
            opened_its_own: state.info().is_some_and(|info| info.session.id == own),
        })
    }

    /// Says in `want` what the newcomer finds: whom it follows, or who keeps it out. `before` is the
    /// run that the one which was seen follows.
    pub(crate) async fn make_way(
        &self,
        delivery: &Delivery,
        want: &mut Attach,
        seen: Seen,
        before: Option<PreviousRun>,
        way: OnBusy,
    ) -> Result<(), Failure> {
        want.previous = if seen.queued { before } else { seen.previous };
        let goes_on = !seen.status.is_terminal();
        let cancels = match way {
            OnBusy::Reject | OnBusy::Enqueue => false,
            // A run that is cancelled already may have been so by this very command, and be owed what
            // that made due.
            OnBusy::Interrupt | OnBusy::Rollback => goes_on || seen.status == Status::Cancelled,
        };
        if !cancels {
            want.busy = goes_on.then_some(seen.run.run_id);
            return Ok(());
        }
        let by = want.run_id;
        let reason = match way {
            OnBusy::Rollback => format!("taken back for run {}", want.run_id),
            _ => format!("interrupted by run {}", want.run_id),
        };
        let decide = |run: &Run| match run.status.is_terminal() {
            true => Ok(vec![]),
            false if way == OnBusy::Rollback => run::take_back(run, reason.clone(), by),
            false => run::cancel(run, Some(reason.clone())),
        };
        let (bus, store) = (&self.bus, &self.store);
        let cancelled =
            process::decide_run(bus, store, delivery, seen.run, MAKE_WAY, decide).await?;
        let taken_back = way == OnBusy::Rollback && !cancelled.nothing_recorded;
        if !taken_back && !seen.queued {
            let ended = self.see(delivery, seen.run.run_id, seen.run.first_seq);
            want.previous = ended.await?.previous;
            return Ok(());
        }
        want.previous = before;
        Ok(())
    }
}
