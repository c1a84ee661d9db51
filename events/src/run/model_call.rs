//! What a model call gave, recorded once.

use super::embed::{self, TextsEmbedded};
use super::failover;
use super::invalid::too_many;
use super::summary::{self, ContextSummarised};
use super::{
    EarlierCall, LlmAborted, LlmCompleted, LlmFailed, Run, RunCompleted, RunEvent, RunFailed, Step,
    ToolFailed,
};
use crate::time::Timestamp;

/// What a model call gave.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelOutcome {
    /// An answer.
    Completed(LlmCompleted),
    /// Not yet: the conversation had to be shortened first.
    Summarised(Box<ContextSummarised>),
    /// Vectors.
    Embedded(Box<TextsEmbedded>),
    /// None. `again` is what whoever called thinks of a further try; the core decides.
    Failed(LlmFailed),
    /// It was broken off, since the run had ended.
    Aborted(LlmAborted),
}

/// Records the outcome of the turn's model call. An outcome after the run's end is charged, and
/// changes nothing else; a second outcome of one call is dropped.
pub fn record_model(run: &Run, outcome: ModelOutcome, now: Timestamp) -> Vec<RunEvent> {
    if run.grant.is_none() {
        return vec![];
    }
    if run.status.is_terminal() {
        return vec![aborted(outcome).into()];
    }
    let turn = match &outcome {
        ModelOutcome::Completed(done) => done.turn,
        ModelOutcome::Summarised(done) => done.call.turn,
        ModelOutcome::Embedded(done) => done.call.turn,
        ModelOutcome::Failed(failed) => failed.turn,
        ModelOutcome::Aborted(_) => return vec![],
    };
    if run.turn != turn || !matches!(run.step, Step::Call { .. }) {
        return vec![];
    }
    match outcome {
        ModelOutcome::Completed(done) => completed(run, done, now),
        ModelOutcome::Summarised(done) => summary::summarised(run, *done),
        ModelOutcome::Embedded(done) => embed::embedded(run, *done, now),
        ModelOutcome::Failed(failed) => failover::failed(run, failed),
        ModelOutcome::Aborted(_) => vec![],
    }
}

fn completed(run: &Run, mut done: LlmCompleted, now: Timestamp) -> Vec<RunEvent> {
    make_ids_unique(&mut done);
    let client_calls = client_calls(run, &done);
    let refused = match client_calls.is_empty() {
        true => refused_calls(run, &done),
        false => calls_left_out(run, &done),
    };
    let calls = done.tool_calls.len();
    let wants_tools = calls > 0 && client_calls.is_empty();
    let tokens = run
        .usage
        .total_tokens()
        .saturating_add(done.usage.total_tokens());
    let cost_usd_micros = run.cost_usd_micros.saturating_add(done.cost_usd_micros);
    let turn = done.turn;
    let mut events = vec![RunEvent::from(done)];
    let max_turns = run.info().map_or(0, |info| info.max_turns);
    let goes_on = wants_tools || (client_calls.is_empty() && !run.signals.is_empty());
    if goes_on && turn >= max_turns {
        let message = format!("the agent made {max_turns} model calls and was not done");
        events.push(
            RunFailed {
                code: "max_turns".to_owned(),
                message,
            }
            .into(),
        );
    } else if goes_on {
        // Where all of them are refused the turn is over with this commit.
        let codes = refused.iter().map(|failed| failed.code.as_str());
        let ends = (wants_tools && refused.len() == calls)
            .then(|| too_many(run, turn, codes))
            .flatten();
        events.extend(refused.into_iter().map(RunEvent::from));
        events.extend(ends);
    } else {
        events.extend(refused.into_iter().map(RunEvent::from));
        let duration_ms = run
            .started
            .as_ref()
            .map_or(0, |started| now.millis_since(started.at));
        events.push(
            RunCompleted {
                tokens,
                cost_usd_micros,
                duration_ms,
                client_calls,
            }
            .into(),
        );
    }
    events
}

/// Calls that the caller executes: the run gives them back and ends.
fn client_calls(run: &Run, done: &LlmCompleted) -> Vec<EarlierCall> {
    (done.tool_calls.iter())
        .filter(|call| run.is_clients_tool(&call.name))
        .map(|call| EarlierCall {
            turn: done.turn,
            call_id: call.id.clone(),
        })
        .collect()
}

/// What else the model asks for in a turn that ends the run. Executing it would be work for an answer
/// that nobody waits for any more: the caller goes on with a run of its own, in which the model may
/// ask again.
fn calls_left_out(run: &Run, done: &LlmCompleted) -> Vec<ToolFailed> {
    (done.tool_calls.iter())
        .filter(|call| !run.is_clients_tool(&call.name))
        .map(|call| ToolFailed {
            turn: done.turn,
            call_id: call.id.clone(),
            code: "not_executed".to_owned(),
            message: "the turn also called a tool of the caller's, which ended the run".to_owned(),
            duration_ms: 0,
        })
        .collect()
}

/// Calls of tools that the run does not have: the model is told at once.
fn refused_calls(run: &Run, done: &LlmCompleted) -> Vec<ToolFailed> {
    let known = run
        .info()
        .map(|info| info.tools.as_slice())
        .unwrap_or_default();
    let clients = run.given().map_or(&[][..], |given| &given.client_tools);
    (done.tool_calls.iter())
        .filter(|call| !known.contains(&call.name))
        .map(|call| ToolFailed {
            turn: done.turn,
            call_id: call.id.clone(),
            code: "unknown_tool".to_owned(),
            message: format!(
                "there is no tool {:?} here; there is: {}",
                call.name.chars().take(64).collect::<String>(),
                [known, clients].concat().join(", ")
            ),
            duration_ms: 0,
        })
        .collect()
}

/// Providers have been seen to send empty and repeated call ids; each call needs its own.
fn make_ids_unique(done: &mut LlmCompleted) {
    let mut seen = std::collections::BTreeSet::new();
    let count = done.tool_calls.len();
    for (index, call) in done.tool_calls.iter_mut().enumerate() {
        let usable =
            (1..=128).contains(&call.id.len()) && call.id.bytes().all(|c| c.is_ascii_graphic());
        if !usable {
            call.id.clear();
        }
        // The provider may use our own pattern too.
        let mut number = index;
        while call.id.is_empty() || seen.contains(&call.id) {
            call.id = format!("call-{}-{number}", done.turn);
            number += count;
        }
        seen.insert(call.id.clone());
    }
}

fn aborted(outcome: ModelOutcome) -> LlmAborted {
    match outcome {
        ModelOutcome::Completed(LlmCompleted {
            turn,
            usage,
            cost_usd_micros,
            duration_ms,
            ..
        })
        | ModelOutcome::Failed(LlmFailed {
            turn,
            usage,
            cost_usd_micros,
            duration_ms,
            ..
        }) => LlmAborted {
            turn,
            usage,
            cost_usd_micros,
            duration_ms,
        },
        ModelOutcome::Summarised(done) => aborted(ModelOutcome::Completed(done.call)),
        ModelOutcome::Embedded(done) => aborted(ModelOutcome::Completed(done.call)),
        ModelOutcome::Aborted(aborted) => aborted,
    }
}
