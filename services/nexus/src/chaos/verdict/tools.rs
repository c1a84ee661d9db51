//! Tools: judged before they are called, counted where they take effect.

use std::collections::{BTreeMap, HashMap, HashSet};

use nexus_events::RunId;
use nexus_events::run::{PolicyPoint, Resolution, RunEvent};

use super::super::facts::Facts;
use super::super::witness::Tool;
use super::Row;
use super::runs::{counted, events};

/// A call: the run, its turn, its id.
type Call = (RunId, u32, String);

/// What the log says of a call.
#[derive(Clone, Debug, Default)]
struct Said {
    tool: String,
    started: usize,
    completed: bool,
    failed: Option<String>,
    doubted: bool,
    retried: usize,
    reused: bool,
}

/// A tool that may not be executed twice had one effect, or is in doubt; one that may had one at least,
/// under one key.
pub(super) fn effects(facts: &Facts) -> Row {
    let mut seen: BTreeMap<Call, (usize, HashSet<&str>)> = BTreeMap::new();
    for effect in &facts.effects {
        let call = (effect.run_id, effect.turn, effect.call_id.clone());
        let entry = seen.entry(call).or_default();
        entry.0 += 1;
        entry.1.insert(&effect.key);
    }
    let said = said(facts);
    let mut breaches = vec![];
    let mut kinds = vec![];
    for (call, said) in &said {
        if said.tool == Tool::Calculator.name() || said.reused {
            continue;
        }
        let (count, keys) = seen.remove(call).unwrap_or_default();
        if said.doubted {
            kinds.push("in doubt".to_owned());
        }
        if let Some(wrong) = wrong(said, count, keys.len()) {
            breaches.push(format!("{call:?} {}: {wrong}", said.tool));
        }
    }
    breaches.extend(seen.keys().map(|call| format!("{call:?} was never begun")));
    let row = Row::new(
        "P3",
        "effects at the witness",
        facts.effects.len(),
        breaches,
    );
    row.noted(counted("", &kinds))
}

fn wrong(said: &Said, count: usize, keys: usize) -> Option<String> {
    let once = !Tool::is_idempotent(&said.tool);
    let most = match once {
        true => 1 + said.retried,
        false => usize::MAX,
    };
    let least = usize::from(said.completed && !said.doubted);
    if count > most {
        return Some(format!("{count} effects, and {most} allowed"));
    }
    if count < least {
        return Some("it is said to be done, and had no effect".to_owned());
    }
    let known_not_done = once && !said.doubted && said.failed.is_some();
    if known_not_done && count > 0 {
        let code = said.failed.as_deref().unwrap_or_default();
        return Some(format!(
            "it is said to have failed ({code}), and had an effect"
        ));
    }
    (keys > 1).then(|| format!("{keys} idempotency keys"))
}

fn said(facts: &Facts) -> BTreeMap<Call, Said> {
    let mut all: BTreeMap<Call, Said> = BTreeMap::new();
    for (id, event) in events(facts) {
        match event {
            RunEvent::ToolStarted(event) => {
                let said = all
                    .entry((id, event.turn, event.call_id.clone()))
                    .or_default();
                said.tool.clone_from(&event.tool);
                said.started += 1;
            }
            RunEvent::ToolCompleted(event) => {
                let said = all
                    .entry((id, event.turn, event.call_id.clone()))
                    .or_default();
                said.completed = true;
                said.reused = event.reused.is_some();
            }
            RunEvent::ToolFailed(event) => {
                let key = (id, event.turn, event.call_id.clone());
                // What was never started had no effect, which is checked by there being none.
                if let Some(said) = all.get_mut(&key) {
                    said.failed = Some(event.code.clone());
                }
            }
            RunEvent::ToolInDoubt(event) => {
                let said = all
                    .entry((id, event.turn, event.call_id.clone()))
                    .or_default();
                said.doubted = true;
            }
            RunEvent::ToolResolved(event) if event.resolution == Resolution::Retry => {
                let said = all
                    .entry((id, event.turn, event.call_id.clone()))
                    .or_default();
                said.retried += 1;
            }
            _ => {}
        }
    }
    all
}

/// Nothing is done that policy did not allow first, with people's word where it asked for that.
pub(super) fn judged(facts: &Facts) -> Row {
    let mut allowed: HashMap<(RunId, PolicyPointKey), bool> = HashMap::new();
    let (mut count, mut breaches) = (0, vec![]);
    for (id, event) in events(facts) {
        let done = match event {
            RunEvent::PolicyDecided(decided) => {
                let free = decided.allowed && decided.approval.is_none();
                allowed.insert((id, key(&decided.point)), free);
                continue;
            }
            RunEvent::ToolStarted(event) => (event.turn, Some(event.call_id.clone())),
            RunEvent::LlmCompleted(event) if event.turn > 0 => (event.turn, None),
            _ => continue,
        };
        count += 1;
        if allowed.get(&(id, done.clone())) != Some(&true) {
            breaches.push(format!("{id} {done:?} was not allowed"));
        }
    }
    Row::new("P6", "allowed before it was done", count, breaches)
}

type PolicyPointKey = (u32, Option<String>);

fn key(point: &PolicyPoint) -> PolicyPointKey {
    match point {
        PolicyPoint::RunStart => (0, None),
        PolicyPoint::LlmCall { turn } => (*turn, None),
        PolicyPoint::ToolCall { turn, call_id } => (*turn, Some(call_id.clone())),
    }
}

/// What policy denies has no effect.
pub(super) fn forbidden(facts: &Facts) -> Row {
    let name = Tool::Forbidden.name();
    let denied = events(facts)
        .filter(|(_, event)| matches!(event, RunEvent::PolicyDecided(decided) if !decided.allowed));
    let started = events(facts).filter_map(|(id, event)| match event {
        RunEvent::ToolStarted(event) if event.tool == name => Some(format!("{id} was begun")),
        _ => None,
    });
    let effects = facts.effects.iter().filter(|effect| effect.tool == name);
    let effects = effects.map(|effect| format!("{} had an effect", effect.run_id));
    let breaches = started.chain(effects).collect();
    Row::new(
        "P6",
        "denied calls without effect",
        denied.count(),
        breaches,
    )
}

/// A run keeps the versions of its tools, whatever is registered meanwhile.
pub(super) fn pinned(facts: &Facts) -> Row {
    let mut pins: HashMap<(RunId, String), String> = HashMap::new();
    let (mut breaches, mut versions) = (vec![], vec![]);
    for (id, event) in events(facts) {
        match event {
            RunEvent::RunStarted(started) => {
                for (tool, pin) in &started.pins {
                    pins.insert((id, tool.clone()), pin.version.clone());
                }
            }
            RunEvent::ToolStarted(event) => {
                let pin = pins.get(&(id, event.tool.clone()));
                if pin != Some(&event.version) {
                    breaches.push(format!(
                        "{id}: {} {}, not {pin:?}",
                        event.tool, event.version
                    ));
                }
            }
            _ => {}
        }
    }
    for effect in &facts.effects {
        versions.push(effect.version.clone());
        if pins.get(&(effect.run_id, effect.tool.clone())) != Some(&effect.version) {
            breaches.push(format!(
                "{}: {} {}",
                effect.run_id, effect.tool, effect.version
            ));
        }
        let owner = facts
            .book
            .runs
            .get(&effect.run_id)
            .map(|(tenant, _)| tenant.as_str());
        if owner != Some(effect.tenant.as_str()) {
            breaches.push(format!("{}: seen by {}", effect.run_id, effect.tenant));
        }
    }
    let row = Row::new("–", "runs keep their versions", versions.len(), breaches);
    row.noted(counted("", &versions))
}
