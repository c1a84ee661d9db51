//! Questions that were asked, from the log: a run is folded up to a decision, and the input is built
//! by the code that built it then. What the log of the run does not hold, the ledger's figures, the
//! decision itself does.

use nexus_bus::Stored;
use nexus_events::catalog::Catalog;
use nexus_events::run::{PolicyDecided, Run, RunEvent, asked_too_often};
use nexus_events::{Aggregate, Commit, Position, Tenant};

use crate::active::BundleInForce;
use crate::engine::Input;
use crate::input;
use crate::judge::judge_as;

/// A run, folded up to a commit.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// As it was after it.
    pub(crate) run: Run,
    /// Sequence of that commit; 0 before the first.
    pub(crate) seq: u64,
    /// Length of all commits, in bytes: about what the state takes.
    pub(crate) bytes: usize,
}

impl Folded {
    /// Whether a stored commit comes right after what was folded.
    pub(crate) fn is_followed_by(&self, stored: &Stored) -> bool {
        stored.follows() == Some(self.seq)
    }

    /// Folds the next one.
    pub(crate) fn take(&mut self, commit: &Commit<RunEvent>, stored: &Stored) {
        let (seq, time) = (stored.seq, commit.time);
        for (event, index) in commit.events.iter().zip(0..) {
            self.run.evolve(event, Position { seq, index, time });
        }
        self.seq = seq;
        self.bytes += stored.body.len();
    }
}

/// The decisions that a commit recorded.
pub(crate) fn decisions(commit: &Commit<RunEvent>) -> impl Iterator<Item = &PolicyDecided> {
    commit.events.iter().filter_map(|event| match event {
        RunEvent::PolicyDecided(decided) => Some(decided),
        _ => None,
    })
}

/// The question behind a decision of `commit`. `run` is as it was before: all that one commit decided
/// was asked of the same state.
pub(crate) fn question(
    run: &Run,
    tenant: &Tenant,
    catalog: &Catalog,
    commit: &Commit<RunEvent>,
    decided: &PolicyDecided,
) -> Option<Input> {
    let left = decided.budget_left;
    input::build(run, &decided.point, tenant, catalog, left, commit.time)
}

/// The judgement of a bundle on it, as it would have been recorded.
pub(crate) fn judge_again(
    bundle: &BundleInForce,
    run: &Run,
    catalog: &Catalog,
    decided: &PolicyDecided,
    question: Input,
) -> PolicyDecided {
    let point = decided.point.clone();
    let mut again = judge_as(&decided.bundle, bundle, run, point, question, catalog);
    if again.approval.is_some() && asked_too_often(run, &again.point) {
        again.approval = None;
    }
    again.budget_left = decided.budget_left;
    again
}
