//! Events and commits to begin a story with.

use super::super::*;
use crate::catalog::{Catalog, ModelInfo, Price};
use crate::command::{Budget, StartRun};
use crate::envelope::Actor;
use crate::ids::{ReservationId, RunId};
use crate::ledger::{Amounts, OnExhausted, Refusal, Scope, Shortage, Unit, Window};
use crate::model::{FinishReason, ToolCall, Usage};
use crate::time::Timestamp;

pub(super) const MODEL: &str = "small";

pub(super) fn run_id() -> RunId {
    RunId::derive(&["run"])
}

pub(super) fn model() -> ModelInfo {
    let price = Price {
        input: 150_000,
        cached_input: 75_000,
        output: 600_000,
        ..Price::default()
    };
    ModelInfo {
        provider: "local".into(),
        others: vec![],
        context_tokens: 8_000,
        max_output_tokens: 1_000,
        price,
        tokenizer: None,
    }
}

pub(super) fn catalog() -> Catalog {
    Catalog {
        default_model: MODEL.into(),
        models: [(MODEL.to_owned(), model())].into(),
        ..Catalog::default()
    }
}

/// What the turn's model call asks.
pub(super) fn asks(run: &Run, turn: u32) -> Option<crate::ledger::Ask> {
    ask(run, turn, None, &catalog()).expect("the model is known")
}

pub(super) fn new_run(command: StartRun) -> NewRun {
    NewRun {
        given: None,
        run_id: run_id(),
        input: command.input.as_str().into(),
        command,
        pins: Default::default(),
        session: SessionLink {
            id: run_id().own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        parent: None,
        user: Actor {
            user: "ada".into(),
            roles: vec![],
            ..Actor::default()
        },
        trace_id: None,
        prompt_tokens: None,
        queued: None,
    }
}

pub(super) fn hello() -> StartRun {
    StartRun {
        input: "hello".into(),
        ..StartRun::default()
    }
}

pub(super) fn started() -> Vec<RunEvent> {
    started_as(hello())
}

pub(super) fn started_as(command: StartRun) -> Vec<RunEvent> {
    start(&Run::default(), new_run(command), &catalog()).expect("it is valid")
}

pub(super) fn with_budget(tokens: u64) -> StartRun {
    let budget = Budget {
        tokens: Some(tokens),
        ..Budget::default()
    };
    StartRun {
        budget: Some(budget),
        ..hello()
    }
}

pub(super) fn judged(point: PolicyPoint, allowed: bool) -> PolicyDecided {
    PolicyDecided {
        point,
        allowed,
        reasons: vec!["because".into()],
        rules: vec!["rule".into()],
        bundle: "builtin".into(),
        duration_us: 5,
        ..PolicyDecided::default()
    }
}

pub(super) fn call_point(turn: u32) -> PolicyPoint {
    PolicyPoint::LlmCall { turn }
}

pub(super) fn tool_point(turn: u32, call_id: &str) -> PolicyPoint {
    PolicyPoint::ToolCall {
        turn,
        call_id: call_id.into(),
    }
}

pub(super) fn admitted() -> Vec<RunEvent> {
    vec![
        judged(PolicyPoint::RunStart, true).into(),
        judged(call_point(1), true).into(),
    ]
}

pub(super) fn reservation(turn: u32, round: u32) -> ReservationId {
    reservation_id(run_id(), turn, None, round)
}

pub(super) fn granted(turn: u32, round: u32) -> Granted {
    Granted {
        reservation_id: reservation(turn, round),
        amounts: Amounts {
            tokens: 2_000,
            cost_usd_micros: 900,
            time_ms: 300_000,
            ..Amounts::default()
        },
        max_output_tokens: 1_000,
        expires_at: Timestamp::from_millis(1_795_353_377_328).plus_millis(900_000),
        ledger_seq: 15,
    }
}

pub(super) fn grant(turn: u32) -> Vec<RunEvent> {
    let Granted {
        reservation_id,
        amounts,
        max_output_tokens,
        expires_at,
        ledger_seq,
    } = granted(turn, 0);
    vec![
        ReservationGranted {
            turn,
            call_id: None,
            time_limited: false,
            reservation_id,
            amounts,
            max_output_tokens,
            expires_at,
            ledger_seq,
        }
        .into(),
    ]
}

pub(super) fn refusal() -> Refusal {
    shortage(OnExhausted::Reject).into()
}

pub(super) fn shortage(on_exhausted: OnExhausted) -> Shortage {
    Shortage {
        scope: Scope::User("ada".into()),
        window: Window::Day,
        unit: Unit::Tokens,
        limit: 1_000,
        spent: 700,
        reserved: 200,
        needed: 150,
        on_exhausted,
    }
}

/// What the ledger holds for a tool call.
pub(super) fn tool_granted(turn: u32, call_id: &str, round: u32) -> Granted {
    Granted {
        reservation_id: reservation_id(run_id(), turn, Some(call_id), round),
        amounts: Amounts {
            time_ms: 60_000,
            tool_calls: 1,
            ..Amounts::default()
        },
        max_output_tokens: 0,
        ..granted(turn, 0)
    }
}

pub(super) fn tool_grant(turn: u32, call_id: &str) -> Vec<RunEvent> {
    let Granted {
        reservation_id,
        amounts,
        max_output_tokens,
        expires_at,
        ledger_seq,
    } = tool_granted(turn, call_id, 0);
    let granted = ReservationGranted {
        turn,
        call_id: Some(call_id.into()),
        time_limited: false,
        reservation_id,
        amounts,
        max_output_tokens,
        expires_at,
        ledger_seq,
    };
    vec![granted.into()]
}

/// An answer of 120 tokens that cost 30 micro-dollars and took 50 ms.
pub(super) fn answer(turn: u32, calls: &[(&str, &str)]) -> LlmCompleted {
    let call = |&(id, name): &(&str, &str)| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: serde_json::json!({ "expression": "6 * 7" }),
    };
    LlmCompleted {
        turn,
        provider: "local".into(),
        model: "small-1".into(),
        text: "said".into(),
        tool_calls: calls.iter().map(call).collect(),
        finish: if calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        },
        usage: Usage {
            input_tokens: 100,
            output_tokens: 20,
            ..Usage::default()
        },
        cost_usd_micros: 30,
        duration_ms: 50,
        time_to_first_token_ms: Some(10),
        attempts: 1,
        response_id: None,
        route: "the only one".into(),
        routing: None,
        findings: vec![],
        cached: None,
    }
}

pub(super) fn no_answer(turn: u32) -> LlmFailed {
    LlmFailed {
        turn,
        code: "provider_unavailable".into(),
        message: "it does not answer".into(),
        usage: Usage {
            input_tokens: 7,
            ..Usage::default()
        },
        cost_usd_micros: 1,
        duration_ms: 9,
        attempts: 4,
        again: None,
        routing: None,
        findings: vec![],
    }
}

pub(super) fn broken_off(turn: u32) -> LlmAborted {
    LlmAborted {
        turn,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 0,
    }
}

pub(super) fn result_of(turn: u32, call_id: &str) -> ToolOutcome {
    ToolOutcome::Completed(ToolCompleted {
        turn,
        call_id: call_id.into(),
        output: "42".into(),
        duration_ms: 3,
        tokens: None,
        reused: None,
    })
}

pub(super) fn error_of(turn: u32, call_id: &str) -> ToolOutcome {
    ToolOutcome::Failed(ToolFailed {
        turn,
        call_id: call_id.into(),
        code: "tool_failed".into(),
        message: "division by zero".into(),
        duration_ms: 3,
    })
}

/// A run whose first model call is about to be made.
pub(super) fn calling() -> [Vec<RunEvent>; 3] {
    [started(), admitted(), grant(1)]
}

/// A run whose model wants these calculations.
pub(super) fn wanting(calls: &[&str]) -> Vec<Vec<RunEvent>> {
    let calls: Vec<_> = calls.iter().map(|&id| (id, "calculator")).collect();
    let mut commits = calling().to_vec();
    commits.push(vec![answer(1, &calls).into()]);
    commits
}

/// A run whose tools may be executed.
pub(super) fn ready(calls: &[&str]) -> Vec<Vec<RunEvent>> {
    let mut commits = allowed(calls);
    commits.extend(calls.iter().map(|id| tool_grant(1, id)));
    commits
}

/// A run whose tools policy has allowed.
pub(super) fn allowed(calls: &[&str]) -> Vec<Vec<RunEvent>> {
    let mut commits = wanting(calls);
    commits.push(
        calls
            .iter()
            .map(|id| judged(tool_point(1, id), true).into())
            .collect(),
    );
    commits
}
