//! What a bundle would have changed in history. A report covers a stretch of the log; reports of
//! following stretches join, so that whoever asks sees progress and may stop, and nobody holds a
//! request open for as long as a whole history takes.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Difference;
use crate::ids::RunId;
use crate::run::{PolicyDecided, PolicyPoint};
use crate::time::Timestamp;

/// Changes that are told one by one; all are counted.
pub const MOST_CHANGES: usize = 100;
/// Runs that are named.
const MOST_RUNS: usize = 1000;
/// Rules, tools or users that are counted apart; those that come later are counted together.
const MOST_NAMES: usize = 1000;
/// The name under which they are.
const OTHERS: &str = "(others)";

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestReport {
    /// Digest of the bundle that was tried.
    pub bundle: String,
    /// Decisions that were made again.
    pub decisions: u64,
    /// Those that would be others.
    pub changed: u64,
    /// Recorded decisions whose question the log does not give any more.
    pub skipped: u64,
    /// Changes by kind.
    pub by_kind: BTreeMap<Difference, u64>,
    /// Changes by the rules of the bundle that was tried.
    pub by_rule: BTreeMap<String, u64>,
    /// Changes by the rules that decided then.
    pub by_recorded_rule: BTreeMap<String, u64>,
    /// Changes by tool; those of other steps by the point, `llm.call`.
    pub by_tool: BTreeMap<String, u64>,
    /// Changes by the user whose run it is.
    pub by_user: BTreeMap<String, u64>,
    /// Runs with changes, to look at; the first 1,000.
    pub runs: BTreeSet<RunId>,
    /// The first changes.
    pub changes: Vec<Change>,
    /// First sequence of the log that is covered.
    pub from_seq: u64,
    /// Last sequence that is covered.
    pub to_seq: u64,
    /// Where the log of runs ended when it was asked.
    pub last_seq: u64,
    /// Where to go on; absent when all is covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_seq: Option<u64>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// One decision that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The run.
    pub run_id: RunId,
    /// Sequence of the commit that recorded the decision.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which step.
    pub point: PolicyPoint,
    /// The tool, of a tool call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whose run.
    pub user: String,
    /// How it would change.
    pub difference: Difference,
    /// What was decided.
    pub recorded: Outcome,
    /// What would be.
    pub would: Outcome,
}

/// A judgement in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Digest of the bundle.
    pub bundle: String,
    /// It goes ahead.
    pub allowed: bool,
    /// People are asked first.
    pub approval: bool,
    /// The rules.
    pub rules: Vec<String>,
    /// Why.
    pub reasons: Vec<String>,
}

impl From<&PolicyDecided> for Outcome {
    fn from(decided: &PolicyDecided) -> Self {
        Self {
            bundle: decided.bundle.clone(),
            allowed: decided.allowed,
            approval: decided.approval.is_some(),
            rules: decided.rules.clone(),
            reasons: decided.reasons.clone(),
        }
    }
}

impl BacktestReport {
    /// Counts a change.
    pub fn add(&mut self, change: Change) {
        self.changed += 1;
        *self.by_kind.entry(change.difference).or_default() += 1;
        let tool = change.tool.as_deref().unwrap_or(change.point.name());
        count(&mut self.by_tool, tool, 1);
        count(&mut self.by_user, &change.user, 1);
        for rule in &change.would.rules {
            count(&mut self.by_rule, rule, 1);
        }
        for rule in &change.recorded.rules {
            count(&mut self.by_recorded_rule, rule, 1);
        }
        if self.runs.len() < MOST_RUNS {
            self.runs.insert(change.run_id);
        }
        if self.changes.len() < MOST_CHANGES {
            self.changes.push(change);
        }
    }

    /// Joins the report of the stretch that follows.
    pub fn join(&mut self, next: Self) {
        self.bundle = next.bundle;
        self.decisions += next.decisions;
        self.changed += next.changed;
        self.skipped += next.skipped;
        self.duration_ms += next.duration_ms;
        for (kind, changes) in next.by_kind {
            *self.by_kind.entry(kind).or_default() += changes;
        }
        for (ours, theirs) in [
            (&mut self.by_rule, next.by_rule),
            (&mut self.by_recorded_rule, next.by_recorded_rule),
            (&mut self.by_tool, next.by_tool),
            (&mut self.by_user, next.by_user),
        ] {
            for (name, changes) in theirs {
                count(ours, &name, changes);
            }
        }
        let room = MOST_RUNS.saturating_sub(self.runs.len());
        self.runs.extend(next.runs.into_iter().take(room));
        let room = MOST_CHANGES.saturating_sub(self.changes.len());
        self.changes.extend(next.changes.into_iter().take(room));
        if self.from_seq == 0 {
            self.from_seq = next.from_seq;
        }
        self.to_seq = next.to_seq;
        self.last_seq = next.last_seq;
        self.next_seq = next.next_seq;
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str, by: u64) {
    let known = counts.len() < MOST_NAMES || counts.contains_key(name);
    let name = if known { name } else { OTHERS };
    match counts.get_mut(name) {
        Some(count) => *count += by,
        None => {
            counts.insert(name.to_owned(), by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(user: u32) -> Change {
        let outcome = Outcome::from(&PolicyDecided {
            rules: vec!["r".to_owned()],
            ..PolicyDecided::default()
        });
        Change {
            run_id: RunId::derive(&[&user.to_string()]),
            seq: u64::from(user),
            at: Timestamp::default(),
            point: PolicyPoint::LlmCall { turn: 1 },
            tool: None,
            user: format!("u{user:05}"),
            difference: Difference::WouldDeny,
            recorded: outcome.clone(),
            would: outcome,
        }
    }

    fn report(users: std::ops::Range<u32>) -> BacktestReport {
        let mut report = BacktestReport {
            from_seq: u64::from(users.start),
            to_seq: u64::from(users.end),
            ..BacktestReport::default()
        };
        users.for_each(|user| report.add(change(user)));
        report
    }

    #[test]
    fn stretches_join_to_the_whole() {
        let mut joined = report(1..30);
        joined.join(report(30..120));
        let whole = report(1..120);
        assert_eq!(joined, whole);
        assert_eq!(whole.by_tool.get("llm.call"), Some(&119));
        assert_eq!((whole.changes.len(), whole.runs.len()), (MOST_CHANGES, 119));
    }

    #[test]
    fn a_report_is_bounded_and_counts_all() {
        let mut whole = report(0..1500);
        whole.join(report(1500..3000));
        assert_eq!(whole.changed, 3000);
        assert_eq!(whole.by_user.values().sum::<u64>(), 3000);
        assert!(whole.by_user.len() <= MOST_NAMES + 1);
        assert!(whole.runs.len() <= MOST_RUNS);
    }
}
