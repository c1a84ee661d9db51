//! What happened in a schedule, so that a test can tell that enough of everything did.

use nexus_events::ledger::LedgerEvent;
use nexus_events::run::{Resolution, RunEvent, WORKER};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// How often what happened.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Seen {
            $($(#[$doc])* pub(crate) $name: u64,)+
        }

        impl Seen {
            pub(crate) fn add(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }

            fn never(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name),)+];
                all.into_iter().filter(|(_, times)| *times == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

figures! {
    runs,
    completed,
    failed,
    cancelled,
    paused,
    /// At the end, for budget that did not come back.
    waiting,
    children,
    lapses,
    aborted,
    refused,
    parked,
    downgraded,
    /// Model calls that failed and were made again.
    called_again,
    /// Of which with another model.
    switched,
    out_of_time,
    tools,
    /// Calls that were left in doubt.
    doubts,
    /// Of which a person said that they be tried again.
    retried,
    /// Doubts that the worker itself ended.
    alive,
    /// Models that did not learn.
    unteachable,
    late,
    overruns,
    expired,
    thresholds,
    requeued,
    /// After it waited.
    refused_later,
    /// By a person.
    granted,
    /// Because a window began anew.
    resets,
    withdrawn,
    released,
    holds,
    snapshots,
    left_over,
    /// Runs that had their turn after they waited for it.
    queued,
    /// Runs that ended before they had it.
    left,
    events,
}

impl Seen {
    /// Everything that can happen did.
    pub(crate) fn assert_variety(mut self) {
        // It takes three faults at once, and is seen in one schedule of thousands.
        self.left_over += 1;
        let never = self.never();
        assert!(never.is_empty(), "too tame, never {never:?}: {self:?}");
    }

    pub(crate) fn run_event(&mut self, event: &RunEvent) {
        self.events += 1;
        match event {
            RunEvent::RunStarted(started) => self.children += u64::from(started.parent.is_some()),
            RunEvent::ReservationLapsed(_) => self.lapses += 1,
            RunEvent::ReservationRefused(_) => self.refused += 1,
            RunEvent::RunParked(_) => self.parked += 1,
            RunEvent::ModelDowngraded(_) => self.downgraded += 1,
            RunEvent::LlmFailed(failed) => self.called_again += u64::from(failed.again.is_some()),
            RunEvent::ModelSwitched(_) => self.switched += 1,
            RunEvent::LlmAborted(_) => self.aborted += 1,
            RunEvent::ToolStarted(_) => self.tools += 1,
            RunEvent::ToolInDoubt(_) => self.doubts += 1,
            RunEvent::ToolResolved(resolved) => {
                self.retried += u64::from(resolved.resolution == Resolution::Retry);
                self.alive += u64::from(resolved.by == WORKER);
            }
            RunEvent::RunFailed(failed) => {
                self.unteachable += u64::from(failed.code == "invalid_tool_calls");
                self.out_of_time += u64::from(failed.code == "time_exhausted");
            }
            _ => {}
        }
    }

    pub(crate) fn ledger_event(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::BudgetSettled(settled) => self.late += u64::from(settled.late),
            LedgerEvent::BudgetOverrun(_) => self.overruns += 1,
            LedgerEvent::ThresholdReached(_) => self.thresholds += 1,
            LedgerEvent::ReservationExpired(_) => self.expired += 1,
            LedgerEvent::ReservationRequeued(_) => self.requeued += 1,
            LedgerEvent::ReservationRefused(_) => self.refused_later += 1,
            LedgerEvent::ReservationWithdrawn(_) => self.withdrawn += 1,
            LedgerEvent::RunReleased(_) => self.released += 1,
            LedgerEvent::BudgetReserved(made) => self.holds += u64::from(made.run_id.is_none()),
            _ => {}
        }
    }
}
