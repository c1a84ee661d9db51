//! What is told of the log: tables, lists of events, the audit log, queues; and who is told.

use std::collections::BTreeMap;

use nexus_events::RunId;
use nexus_projections::Facts as Of;

use super::super::facts::Facts;
use super::Row;

/// No command is left.
pub(super) fn queue(facts: &Facts) -> Row {
    let left = (facts.pending > 0).then(|| format!("{} commands", facts.pending));
    Row::new("P1", "command queue empty", 1, left.into_iter().collect())
}

/// No command was laid aside.
pub(super) fn dead_letters(facts: &Facts) -> Row {
    Row::new("P1", "no dead letters", 1, facts.dead_letters.clone())
}

/// Tables are what a rebuild gives.
pub(super) fn tables(facts: &Facts) -> Row {
    let (different, count) = &facts.tables;
    Row::new("P4", "tables equal a rebuild", *count, different.clone())
}

/// The audit log's chain.
pub(super) fn audit(facts: &Facts) -> Row {
    let (entries, broken) = &facts.audit;
    let entries = usize::try_from(*entries).unwrap_or(usize::MAX);
    Row::new("P4", "audit chain intact", entries, broken.clone())
}

/// A gateway tells a run's events by their sequence, each once and none left out.
pub(super) fn cursor(facts: &Facts) -> Row {
    let mut recorded: BTreeMap<RunId, Vec<String>> = BTreeMap::new();
    for logged in &facts.book.log {
        if let Of::Run(id, commit) = &logged.commit.facts {
            let last = commit.events.len().saturating_sub(1);
            let seq = logged.commit.seq;
            let id_of = |index| match index == last {
                true => seq.to_string(),
                false => format!("{seq}.{index}"),
            };
            let ids = (0..commit.events.len()).map(id_of);
            recorded.entry(*id).or_default().extend(ids);
        }
    }
    let differs = facts
        .told
        .iter()
        .filter(|(id, told)| recorded.get(id) != Some(told));
    let breaches = differs.map(|(id, told)| {
        let recorded = recorded.get(id).map_or(0, Vec::len);
        format!(
            "{id}: {recorded} events recorded, {} told, or others",
            told.len()
        )
    });
    Row::new(
        "P5",
        "events told by their sequence",
        facts.told.len(),
        breaches.collect(),
    )
}

/// Another tenant learns nothing.
pub(super) fn strangers(facts: &Facts) -> Row {
    let told = facts.strangers.iter().filter(|(_, status)| *status != 404);
    let breaches = told.map(|(id, status)| format!("{id}: {status}"));
    Row::new(
        "P9",
        "runs hidden from another tenant",
        facts.strangers.len(),
        breaches.collect(),
    )
}

/// No process ends by itself, whatever it meets.
pub(super) fn processes(facts: &Facts) -> Row {
    Row::new("–", "no process ended by itself", 1, facts.gave_up.clone())
}
