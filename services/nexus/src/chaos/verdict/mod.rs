//! Whether every promise was kept: a list of checks, each a pure function of what is known in the end.

pub(crate) mod ledger;
mod model;
mod runs;
#[cfg(test)]
mod tests;
mod tools;
mod views;

use serde::Serialize;

use super::facts::Facts;

/// Breaches that are named in a report.
const NAMED: usize = 10;

/// One line of the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Which promise.
    pub(crate) promise: &'static str,
    /// What was checked.
    pub(crate) what: &'static str,
    /// How many of it there were.
    pub(crate) checked: usize,
    /// How many were otherwise.
    pub(crate) breaches: usize,
    /// The first of them.
    pub(crate) named: Vec<String>,
    /// What is worth knowing beside that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Row {
    fn new(
        promise: &'static str,
        what: &'static str,
        checked: usize,
        breaches: Vec<String>,
    ) -> Self {
        Self {
            promise,
            what,
            checked,
            breaches: breaches.len(),
            named: breaches.into_iter().take(NAMED).collect(),
            note: String::new(),
        }
    }

    fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Every check.
pub(crate) fn verdict(facts: &Facts) -> Vec<Row> {
    vec![
        runs::answered(facts),
        runs::ended(facts),
        runs::reasons(facts),
        views::queue(facts),
        views::dead_letters(facts),
        ledger::within_limits(facts),
        ledger::settled_once(facts),
        ledger::nothing_held(facts),
        ledger::spent_is_used(facts),
        model::used_is_sent(facts),
        runs::in_order(facts),
        runs::one_outcome(facts),
        tools::effects(facts),
        views::tables(facts),
        views::audit(facts),
        views::cursor(facts),
        tools::judged(facts),
        tools::forbidden(facts),
        runs::explained(facts),
        views::strangers(facts),
        tools::pinned(facts),
        views::processes(facts),
    ]
}
