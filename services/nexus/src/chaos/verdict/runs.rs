//! Runs: accepted, ended, told of once, in order.

use std::collections::{BTreeMap, HashMap};

use nexus_events::RunId;
use nexus_events::run::{Resolution, RunEvent};
use nexus_projections::Facts as Of;

use super::super::facts::Facts;
use super::super::load::Shape;
use super::super::people::Asked;
use super::Row;

/// Every caller learns what became of his request.
pub(super) fn answered(facts: &Facts) -> Row {
    let unknown = facts.specs.iter().filter(|spec| {
        let asked = facts.asked.get(&spec.number);
        asked.is_none_or(|asked| *asked == Asked::Unknown)
    });
    let refused: Vec<String> = (facts.asked.values())
        .filter_map(|asked| match asked {
            Asked::Refused(why) => Some(why.clone()),
            _ => None,
        })
        .collect();
    let unknown = unknown.map(|spec| format!("number {}", spec.number));
    let row = Row::new(
        "P1",
        "requests answered",
        facts.specs.len(),
        unknown.collect(),
    );
    row.noted(counted("refused", &refused))
}

/// Every accepted run has ended.
pub(super) fn ended(facts: &Facts) -> Row {
    let mut breaches = vec![];
    let mut ends = vec![];
    let mut count = 0;
    for (id, spec) in facts.accepted() {
        count += 1;
        match facts.book.runs.get(&id) {
            None => breaches.push(format!("{id} ({:?}) was never begun", spec.shape)),
            Some((_, run)) if !run.status.is_terminal() => {
                breaches.push(format!("{id} ({:?}) is {:?}", spec.shape, run.status));
            }
            Some((_, run)) => ends.push(format!("{:?}", run.status).to_lowercase()),
        }
    }
    Row::new("P1", "accepted runs ended", count, breaches).noted(counted("", &ends))
}

/// No run failed for a reason that is not in the plan: its budget, a parent or session that was not
/// there or not free when nobody heard the refusal, or a model that was cut off for longer than it is
/// tried.
pub(super) fn reasons(facts: &Facts) -> Row {
    // Of all: who asked again was told the second time, and the first may not have been heard.
    let shapes = (facts.specs.iter()).map(|spec| (spec.run_id(), spec.shape));
    let specs: HashMap<RunId, Shape> = shapes.collect();
    let mut breaches = vec![];
    let mut codes = vec![];
    for (id, event) in events(facts) {
        let RunEvent::RunFailed(failed) = event else {
            continue;
        };
        codes.push(failed.code.clone());
        let shape = specs.get(&id);
        let joins = matches!(shape, Some(Shape::Child | Shape::Session));
        let planned = match failed.code.as_str() {
            "budget_exhausted" => true,
            "not_found" | "wrong_state" | "session_busy" | "session_queue_full" => joins,
            code => facts.disturbed && code.starts_with("provider"),
        };
        if !planned {
            breaches.push(format!(
                "{id} ({shape:?}) {}: {}",
                failed.code, failed.message
            ));
        }
    }
    Row::new(
        "P1",
        "failures have a planned reason",
        codes.len(),
        breaches,
    )
    .noted(counted("", &codes))
}

/// Each commit was written after the one before it on its subject.
pub(super) fn in_order(facts: &Facts) -> Row {
    let mut last: HashMap<&str, u64> = HashMap::new();
    let mut breaches: Vec<String> = facts.book.unreadable.clone();
    for logged in &facts.book.log {
        let before = last.insert(&logged.subject, logged.commit.seq).unwrap_or(0);
        if logged.follows != Some(before) {
            let seq = logged.commit.seq;
            let follows = logged.follows;
            breaches.push(format!(
                "{seq} follows {follows:?}, and {before} was before it"
            ));
        }
    }
    Row::new(
        "P3",
        "commits expected their predecessor",
        facts.book.log.len(),
        breaches,
    )
}

/// A step has one outcome, a run one end.
pub(super) fn one_outcome(facts: &Facts) -> Row {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut ended: HashMap<RunId, u64> = HashMap::new();
    let mut breaches = vec![];
    for logged in &facts.book.log {
        let Of::Run(id, commit) = &logged.commit.facts else {
            continue;
        };
        for event in &commit.events {
            if let Some(step) = step(event) {
                *outcomes.entry(format!("{id} {step}")).or_default() += 1;
            }
            if let Some(end) = ended.get(id).filter(|_| acts(event)) {
                breaches.push(format!("{id} goes on at {} after {end}", logged.commit.seq));
            }
            if step(event).as_deref() == Some("end") {
                ended.insert(*id, logged.commit.seq);
            }
        }
    }
    let twice = outcomes.iter().filter(|(_, times)| **times > 1);
    breaches.extend(twice.map(|(step, times)| format!("{step}: {times} outcomes")));
    Row::new("P3", "steps with one outcome", outcomes.len(), breaches)
}

/// The step that an event is the outcome of.
fn step(event: &RunEvent) -> Option<String> {
    Some(match event {
        RunEvent::RunStarted(_) => "start".to_owned(),
        RunEvent::RunCompleted(_) | RunEvent::RunFailed(_) | RunEvent::RunCancelled(_) => {
            "end".to_owned()
        }
        RunEvent::LlmCompleted(done) => format!("turn {}", done.turn),
        RunEvent::ToolStarted(done) => {
            format!("start {} of {} {}", done.attempt, done.turn, done.call_id)
        }
        RunEvent::ToolCompleted(done) => format!("call {} {}", done.turn, done.call_id),
        RunEvent::ToolFailed(done) => format!("call {} {}", done.turn, done.call_id),
        RunEvent::ToolResolved(done) if done.resolution != Resolution::Retry => {
            format!("call {} {}", done.turn, done.call_id)
        }
        _ => return None,
    })
}

/// What no run may do that has ended.
fn acts(event: &RunEvent) -> bool {
    matches!(
        event,
        RunEvent::ToolStarted(_) | RunEvent::LlmCompleted(_) | RunEvent::ReservationGranted(_)
    )
}

/// Every decision says why.
pub(super) fn explained(facts: &Facts) -> Row {
    let (mut count, mut breaches) = (0, vec![]);
    for (id, event) in events(facts) {
        let unsaid = match event {
            RunEvent::PolicyDecided(decided) => {
                decided.bundle.is_empty()
                    || (decided.rules.is_empty() && decided.reasons.is_empty())
            }
            RunEvent::ReservationGranted(granted) => granted.ledger_seq == 0,
            RunEvent::LlmCompleted(done) => done.route.is_empty(),
            _ => continue,
        };
        count += 1;
        if unsaid {
            breaches.push(format!("{id}: {event:?}"));
        }
    }
    Row::new("P8", "decisions say why", count, breaches)
}

/// Every event of every run, in the order of the log.
pub(super) fn events(facts: &Facts) -> impl Iterator<Item = (RunId, &RunEvent)> {
    facts.book.log.iter().flat_map(|logged| {
        let (id, events) = match &logged.commit.facts {
            Of::Run(id, commit) => (Some(*id), commit.events.as_slice()),
            _ => (None, [].as_slice()),
        };
        events.iter().filter_map(move |event| Some((id?, event)))
    })
}

/// How often each came up: `completed 31, failed 2`.
pub(super) fn counted(before: &str, of: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in of {
        *counts.entry(one).or_default() += 1;
    }
    let counts = counts
        .into_iter()
        .map(|(name, count)| format!("{name} {count}"));
    let text = counts.collect::<Vec<_>>().join(", ");
    match before.is_empty() || text.is_empty() {
        true => text,
        false => format!("{before}: {text}"),
    }
}
