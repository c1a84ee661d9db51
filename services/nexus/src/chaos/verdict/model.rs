//! What was recorded of model calls against what the model server sent.

use std::collections::{HashMap, HashSet};

use nexus_events::run::RunEvent;
use nexus_modelserver::Sent;

use super::super::facts::Facts;
use super::Row;
use super::runs::events;

/// What was not reported is bounded from above; anything else is what was sent, to the token.
fn fits(sent: &Sent, (input, output): (u64, u64), estimated: bool) -> bool {
    match estimated {
        true => input >= sent.input_tokens && output >= sent.output_tokens,
        false => input == sent.input_tokens && output == sent.output_tokens,
    }
}

/// Every recorded answer was sent, with just these tokens, and is recorded once. An answer that nobody
/// recorded is one whose worker died or was cut off from the bus before it could say so.
pub(super) fn used_is_sent(facts: &Facts) -> Row {
    let sent: HashMap<&str, &Sent> = facts
        .sent
        .iter()
        .map(|one| (one.id.as_str(), one))
        .collect();
    let mut recorded: HashSet<&str> = HashSet::new();
    let mut breaches = vec![];
    let mut unfinished = 0;
    for (id, event) in events(facts) {
        let done = match event {
            RunEvent::LlmCompleted(done) => done,
            RunEvent::LlmFailed(_) | RunEvent::LlmAborted(_) => {
                unfinished += 1;
                continue;
            }
            _ => continue,
        };
        let Some(response) = done.response_id.as_deref() else {
            breaches.push(format!("{id} turn {}: no answer is named", done.turn));
            continue;
        };
        if !recorded.insert(response) {
            breaches.push(format!(
                "{id} turn {}: {response} was recorded before",
                done.turn
            ));
        }
        let figures = (done.usage.input_tokens, done.usage.output_tokens);
        match sent.get(response) {
            None => breaches.push(format!(
                "{id} turn {}: {response} was never sent",
                done.turn
            )),
            Some(sent) if !fits(sent, figures, done.usage.estimated) => {
                breaches.push(format!(
                    "{id} turn {}: {figures:?} recorded, {sent:?} sent",
                    done.turn
                ));
            }
            Some(_) => {}
        }
    }
    let lost = facts
        .sent
        .iter()
        .filter(|one| !recorded.contains(one.id.as_str()));
    let (mut count, mut tokens) = (0, 0);
    for one in lost {
        count += 1;
        tokens += one.input_tokens + one.output_tokens;
    }
    if count > unfinished && !facts.disturbed {
        breaches.push(format!(
            "{count} answers were sent, and {unfinished} accounted for"
        ));
    }
    let row = Row::new(
        "P2",
        "recorded answers are what the model sent",
        recorded.len(),
        breaches,
    );
    row.noted(format!(
        "{count} answers, {tokens} tokens, unrecorded or broken off; {unfinished} of them charged"
    ))
}
