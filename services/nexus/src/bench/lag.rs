//! How far the read models are behind: for each run, from hearing of its last commit to its being
//! visible in Postgres; and how many commits that is.

use std::time::{Duration, Instant};

use nexus_projections::Projections;
use tokio::sync::watch;

use super::stats::Samples;

/// Between looks at whether to stop.
const PATIENCE: Duration = Duration::from_millis(500);

/// One step of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// When it was heard of.
    pub(crate) at: Instant,
    /// What is applied.
    pub(crate) applied: u64,
    /// The last commit that was heard then.
    pub(crate) heard: u64,
}

/// Follows the checkpoint until told to stop; `heard` is the last commit that was heard of. It is told by the transaction that moved it, so that
/// nothing is polled.
pub(crate) async fn follow(
    projections: Projections,
    heard: impl Fn() -> u64,
    stop: watch::Receiver<bool>,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    while !*stop.borrow() {
        let next = steps.last().map_or(1, |step| step.applied + 1);
        match projections.wait_for_seq(next, PATIENCE).await {
            Ok(applied) => {
                steps.push(Step {
                    at: Instant::now(),
                    applied,
                    heard: heard(),
                });
            }
            // Nothing new, or the database is away for a moment.
            Err(_) => tokio::task::yield_now().await,
        }
    }
    steps
}

/// For each commit, how long after it was heard of it was applied; those that never were are left
/// out.
pub(crate) fn delays(heard: &[(u64, Instant)], steps: &[Step]) -> Samples {
    let visible = |seq: u64| {
        let at = steps.partition_point(|step| step.applied < seq);
        steps.get(at).map(|step| step.at)
    };
    heard
        .iter()
        .filter_map(|(seq, at)| Some(visible(*seq)?.saturating_duration_since(*at)))
        .collect()
}

/// The most commits that the read models were behind.
pub(crate) fn most_behind(steps: &[Step]) -> u64 {
    steps
        .iter()
        .map(|step| step.heard.saturating_sub(step.applied))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_commit_is_visible_with_the_first_step_that_covers_it() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let step = |ms, applied, heard| Step {
            at: at(ms),
            applied,
            heard,
        };
        let steps = [step(10, 5, 9), step(20, 12, 12)];
        let heard = [(5, at(8)), (6, at(9)), (12, at(21)), (13, at(22))];
        let delays = delays(&heard, &steps).quantiles().unwrap();
        assert_eq!((delays.n, delays.p50_us, delays.max_us), (3, 2_000, 11_000));
        assert_eq!(most_behind(&steps), 4);
        assert_eq!(most_behind(&[]), 0);
    }
}
