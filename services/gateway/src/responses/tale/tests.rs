#![expect(clippy::unwrap_used, reason = "a test may fail")]

use nexus_events::Actor;
use nexus_events::model::{FinishReason, Usage};
use nexus_events::run::{
    AgentRef, EarlierCall, RunCancelled, RunCompleted, RunFailed, RunStarted, SessionLink,
};

use super::super::teller::Events;
use super::*;
use crate::openai::stream::Teller;

fn run() -> RunId {
    RunId::derive(&["x"])
}

fn happened(event: impl Into<RunEvent>) -> Happened {
    Happened {
        at: Timestamp::from_millis(7_000),
        event: event.into(),
    }
}

fn started() -> Happened {
    happened(RunStarted {
        run_id: run(),
        session: SessionLink {
            id: run().own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: Actor::default(),
        agent: AgentRef {
            name: "default".into(),
            version: "1".into(),
        },
        model: "m".into(),
        tools: vec![],
        pins: Default::default(),
        input: "hello".into(),
        given: None,
        invoke: None,
        budget: None,
        parent: None,
        max_turns: 4,
        metadata: Default::default(),
        trace_id: None,
        prompt_tokens: None,
        queued: None,
    })
}

fn said(turn: u32, text: &str, calls: &[&str]) -> Happened {
    happened(LlmCompleted {
        turn,
        provider: "p".into(),
        model: "m".into(),
        text: text.into(),
        tool_calls: (calls.iter())
            .map(|id| ToolCall {
                id: (*id).to_owned(),
                name: "weather".into(),
                arguments: json!({ "city": "Rome" }),
            })
            .collect(),
        finish: FinishReason::Stop,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 0,
        time_to_first_token_ms: None,
        attempts: 1,
        response_id: None,
        route: String::new(),
        routing: None,
        findings: vec![],
        cached: None,
    })
}

fn completed(calls: &[&str]) -> Happened {
    let handed = calls.iter().map(|id| EarlierCall {
        turn: 2,
        call_id: (*id).to_owned(),
    });
    happened(RunCompleted {
        tokens: 0,
        cost_usd_micros: 0,
        duration_ms: 0,
        client_calls: handed.collect(),
    })
}

fn live(turn: u32, text: &str) -> Live {
    let text = text.to_owned();
    Live::Text { turn, text }
}

/// What comes of a run: two turns, of which the first called a tool of the platform.
enum Input {
    Live(Live),
    Happened(Box<Happened>),
}

fn inputs(first: &[&str], second: &[&str]) -> Vec<Input> {
    let lives = |turn, pieces: &[&str]| -> Vec<Input> {
        let lives = pieces.iter().map(|piece| Input::Live(live(turn, piece)));
        lives.collect()
    };
    let mut inputs = vec![Input::Happened(Box::new(started()))];
    inputs.extend(lives(1, first));
    inputs.push(Input::Happened(Box::new(said(1, "Grüß Gott", &["p1"]))));
    inputs.extend(lives(2, second));
    inputs.push(Input::Happened(Box::new(said(
        2,
        "It is 31",
        &["c1", "c2"],
    ))));
    inputs.push(Input::Happened(Box::new(completed(&["c1", "c2"]))));
    inputs
}

/// The events that a reader gets who has all up to a number.
fn events(inputs: Vec<Input>, joining: bool, after: Option<u64>) -> Vec<Value> {
    let mut teller = Events::new(Tale::of(run(), joining), after);
    let mut frames = vec![];
    for input in inputs {
        frames.extend(match input {
            Input::Live(live) => teller.live(live).unwrap(),
            Input::Happened(happened) => teller.happened(&happened, false).unwrap(),
        });
    }
    frames.extend(teller.last(&End::Completed));
    (frames.iter())
        .map(|frame| {
            let frame = std::str::from_utf8(frame).unwrap().trim();
            let (_, data) = frame.split_once("\ndata: ").unwrap();
            serde_json::from_str(data).unwrap()
        })
        .collect()
}

fn number(event: &Value) -> u64 {
    event["sequence_number"].as_u64().unwrap()
}

/// All events but the pieces of text, and the texts that the pieces make.
fn gist(events: &[Value]) -> (Vec<Value>, String) {
    let (pieces, others): (Vec<Value>, Vec<Value>) =
        (events.iter().cloned()).partition(|event| event["type"] == "response.output_text.delta");
    let text = pieces.iter().map(|piece| piece["delta"].as_str().unwrap());
    (others, text.collect())
}

#[test]
fn whatever_of_the_fragments_is_heard_the_numbers_are_the_same() {
    let unheard = events(inputs(&[], &[]), false, None);
    let expected = gist(&unheard);
    assert_eq!(expected.1, "Grüß GottIt is 31");
    for (first, second) in [
        (vec!["Gr", "üß", " Gott"], vec!["It", " is 31"]),
        (vec!["Grüß"], vec![]),
        (vec![], vec!["It is", " 31"]),
    ] {
        let heard = events(inputs(&first, &second), false, None);
        assert_eq!(gist(&heard), expected, "{first:?} {second:?}");
        let numbers: Vec<u64> = heard.iter().map(number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}

#[test]
fn who_comes_back_with_any_number_has_all_and_nothing_twice() {
    let pieces = ["Gr", "üß", " Gott"];
    let heard = events(inputs(&pieces, &["It", " is 31"]), false, None);
    let (others, text) = gist(&heard);
    for had in 0..heard.len() {
        let (before, _) = heard.split_at(had + 1);
        let after = before.last().map(number);
        // The second time nothing is heard, or it is joined in the middle of a text.
        for inputs in [inputs(&[], &[]), inputs(&pieces[1..], &["It is"])] {
            let mut all = before.to_vec();
            all.extend(events(inputs, true, after));
            assert_eq!(
                gist(&all),
                (others.clone(), text.clone()),
                "after {after:?}"
            );
        }
    }
}

#[test]
fn the_events_are_those_of_the_protocol() {
    let told = events(inputs(&[], &["It is 31"]), false, None);
    let types: Vec<&str> = (told.iter())
        .map(|event| {
            event["type"]
                .as_str()
                .unwrap()
                .trim_start_matches("response.")
        })
        .collect();
    let text = [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ];
    let call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ];
    let begin = ["created", "queued", "in_progress"];
    let parts: [&[&str]; 6] = [&begin, &text, &text, &call, &call, &["completed"]];
    assert_eq!(types, parts.concat());
    let response = &told.last().unwrap()["response"];
    assert_eq!(response["status"], "completed");
    assert_eq!(response["created_at"], 7);
    let output = response["output"].as_array().unwrap();
    assert_eq!(output.len(), 4);
    assert_eq!(output[1]["content"][0]["text"], "It is 31");
    assert_eq!(output[3]["call_id"], "c2");
    assert_eq!(output[3]["arguments"], "{\"city\":\"Rome\"}");
}

#[test]
fn an_attempt_that_says_something_else_is_not_mixed_with_the_first() {
    let mut tale = Tale::of(run(), false);
    tale.happened(&started()).unwrap();
    tale.live(&live(1, "It is")).unwrap();
    tale.live(&Live::Restart { turn: 1 }).unwrap();
    tale.live(&live(1, "It")).unwrap();
    assert_eq!(tale.live(&live(1, " was")), Err(Diverged));
    let mut joined = Tale::of(run(), true);
    joined.happened(&started()).unwrap();
    joined.live(&live(1, "is")).unwrap();
    joined.live(&Live::Restart { turn: 1 }).unwrap();
    joined.told();
    joined.live(&live(1, "It was")).unwrap();
    let told = joined.told();
    assert_eq!(told.last().unwrap().event["delta"], "It was", "{told:?}");
}

#[test]
fn a_run_without_an_answer_is_a_failed_response() {
    let failed = happened(RunFailed {
        code: "budget_exhausted".into(),
        message: "no".into(),
    });
    let cancelled = happened(RunCancelled { reason: None });
    for (end, status, code) in [
        (failed, "failed", "insufficient_quota"),
        (cancelled, "cancelled", "run_cancelled"),
    ] {
        let mut tale = Tale::of(run(), false);
        tale.happened(&started()).unwrap();
        tale.happened(&end).unwrap();
        tale.finish();
        let last = tale.told().pop().unwrap().event;
        assert_eq!(last["type"], "response.failed");
        assert_eq!(last["response"]["status"], status);
        assert_eq!(last["response"]["error"]["code"], code);
    }
}
