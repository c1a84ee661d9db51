//! From what was measured to what is reported: pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::direct::Direct;
use super::lag::{self, Step};
use super::load::Sample;
use super::observe::between;
use super::report::runs::{Alone, LOAD_GENERATOR, MODEL_SERVER, PerRun, Saturated};
use super::stats::Samples;
use super::stored::Stored;

/// Runs one at a time; a direct call's median is taken off where there is one.
pub(super) fn alone(samples: &[Sample], delays: &Samples, direct: Option<&Direct>) -> Alone {
    let median = |samples: &Samples| samples.quantiles().map(|quantiles| quantiles.p50_us);
    let whole = direct.and_then(|direct| median(&direct.whole));
    let first = direct.and_then(|direct| median(&direct.first_piece));
    let runs: Samples = samples.iter().map(Sample::took).collect();
    let stages = || samples.iter().map(|sample| sample.ended.stages);
    let answered: Samples = stages()
        .filter_map(|stages| between(stages.started, stages.answered))
        .collect();
    let pieces: Samples = stages()
        .filter_map(|stages| between(stages.started, stages.first_piece))
        .collect();
    let less = |samples: &Samples, us: Option<u64>| samples.less(us?).quantiles();
    Alone {
        overhead: less(&runs, whole),
        model_call_added: less(&answered, whole),
        first_piece_added: less(&pieces, first),
        projection_delay: delays.quantiles(),
        run: runs.quantiles(),
    }
}

/// What was used while the second phase was measured.
pub(super) struct Window {
    /// When the warm-up was over.
    pub(super) began: Instant,
    /// When the last run was counted.
    pub(super) ended: Instant,
    /// CPU time in between, by program.
    pub(super) cpu: BTreeMap<String, Duration>,
}

/// Runs that ended in the window.
pub(super) fn saturated(
    in_flight: usize,
    samples: &[Sample],
    steps: &[Step],
    window: &Window,
    drained: Duration,
) -> Saturated {
    let within =
        |sample: &&Sample| sample.ended.at >= window.began && sample.ended.at < window.ended;
    let counted: Vec<&Sample> = samples.iter().filter(within).collect();
    let heard: Vec<_> = counted
        .iter()
        .map(|sample| (sample.ended.seq, sample.ended.at))
        .collect();
    let runs: Samples = counted.iter().map(|sample| sample.took()).collect();
    let length = window.ended.saturating_duration_since(window.began);
    let each = |cpu: &Duration| cpu.as_secs_f64() * 1e6 / counted.len().max(1) as f64;
    let cpu: BTreeMap<String, f64> = window
        .cpu
        .iter()
        .map(|(name, cpu)| (name.clone(), each(cpu)))
        .collect();
    let platform = cpu
        .iter()
        .filter(|(name, _)| *name != LOAD_GENERATOR && *name != MODEL_SERVER);
    let platform: Vec<f64> = platform.map(|(_, us)| *us).collect();
    Saturated {
        in_flight,
        window_ms: micros(length) / 1000,
        runs: runs.len(),
        runs_per_second: runs.len() as f64 / length.as_secs_f64().max(f64::EPSILON),
        run: runs.quantiles(),
        projection_delay: lag::delays(&heard, steps).quantiles(),
        most_commits_behind: lag::most_behind(steps),
        drained_after_ms: micros(drained) / 1000,
        cpu_us_per_run_platform: (!platform.is_empty()).then(|| platform.iter().sum()),
        cpu_us_per_run: cpu,
    }
}

/// What all runs together left behind, shared.
pub(super) fn per_run(before: Stored, after: Stored, runs: usize) -> PerRun {
    let divisor = runs.max(1) as u64;
    let each = |before: u64, after: u64| after.saturating_sub(before) / divisor;
    PerRun {
        runs,
        commits: after.commits.saturating_sub(before.commits) as f64 / divisor as f64,
        log_bytes: each(before.log_bytes, after.log_bytes),
        database_bytes: each(before.database_bytes, after.database_bytes),
        wal_bytes: each(before.wal_bytes, after.wal_bytes),
        bus_in_bytes: each(before.bus.read, after.bus.read),
        bus_out_bytes: each(before.bus.written, after.bus.written),
        disk_bytes: each(before.disk_bytes, after.disk_bytes),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::super::observe::{Ended, Stages};
    use super::*;

    fn sample(t0: Instant, began: u64, started: u64, answered: u64, ended: u64) -> Sample {
        let at = |ms| t0 + Duration::from_millis(ms);
        let stages = Stages {
            started: Some(at(started)),
            first_piece: None,
            answered: Some(at(answered)),
        };
        Sample {
            began: at(began),
            ended: Ended {
                at: at(ended),
                seq: ended,
                failure: None,
                stages,
            },
        }
    }

    #[test]
    fn what_the_model_took_is_not_the_platforms() {
        let t0 = Instant::now();
        let direct = Direct {
            whole: [Duration::from_millis(2)].into_iter().collect(),
            first_piece: Samples::default(),
        };
        let found = alone(
            &[sample(t0, 0, 1, 6, 9)],
            &Samples::default(),
            Some(&direct),
        );
        assert_eq!(found.run.unwrap().p50_us, 9_000);
        assert_eq!(found.overhead.unwrap().p50_us, 7_000);
        assert_eq!(found.model_call_added.unwrap().p50_us, 3_000);
        assert_eq!(
            (found.first_piece_added, found.projection_delay),
            (None, None)
        );
    }

    #[test]
    fn only_what_ended_in_the_window_counts() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let samples = [
            sample(t0, 0, 1, 2, 999),
            sample(t0, 900, 901, 902, 1_000),
            sample(t0, 1_900, 1_901, 1_902, 1_999),
            sample(t0, 1_900, 1_901, 1_902, 2_000),
        ];
        let cpu = [("nexus", 10), (LOAD_GENERATOR, 4)];
        let cpu = cpu
            .map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)))
            .into();
        let window = Window {
            began: at(1_000),
            ended: at(2_000),
            cpu,
        };
        let steps = [lag::Step {
            at: at(2_004),
            applied: 2_000,
            heard: 2_003,
        }];
        let found = saturated(4, &samples, &steps, &window, Duration::ZERO);
        assert_eq!((found.runs, found.window_ms), (2, 1_000));
        assert_eq!(found.cpu_us_per_run_platform, Some(5_000.0));
        assert_eq!(found.projection_delay.unwrap().p50_us, 5_000);
        assert_eq!(found.most_commits_behind, 3);
    }

    #[test]
    fn bytes_are_shared_by_all_runs() {
        let after = Stored {
            commits: 12,
            log_bytes: 900,
            database_bytes: 5,
            wal_bytes: 20,
            ..Stored::default()
        };
        let each = per_run(Stored::default(), after, 3);
        assert_eq!(
            (each.log_bytes, each.database_bytes, each.wal_bytes),
            (300, 1, 6)
        );
        assert!((each.commits - 4.0).abs() < f64::EPSILON);
    }
}
