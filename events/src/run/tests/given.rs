//! What a caller brings that keeps the conversation itself.

use serde_json::json;

use super::*;
use crate::command::StartRun;
use crate::model::{Message, Sampling, ToolCall, ToolSpec};

const LIMITS: StartLimits = StartLimits { input_bytes: 4_096 };

fn weather() -> ToolSpec {
    ToolSpec {
        name: "weather".into(),
        description: "Says how warm it is.".into(),
        parameters: json!({ "type": "object" }),
    }
}

fn user(text: &str) -> Message {
    let text = text.to_owned();
    Message::User { text }
}

fn system() -> Message {
    let text = "Be brief.".to_owned();
    Message::System { text }
}

fn asked(id: &str) -> Message {
    Message::Assistant {
        text: String::new(),
        tool_calls: vec![ToolCall {
            id: id.to_owned(),
            name: "weather".into(),
            arguments: json!({ "city": "Rome" }),
        }],
    }
}

fn result_for(id: &str) -> Message {
    Message::Tool {
        call_id: id.to_owned(),
        name: "weather".into(),
        text: "31".into(),
    }
}

fn with_tool() -> StartRun {
    StartRun {
        client_tools: vec![weather()],
        ..hello()
    }
}

/// The start that the run role decides.
fn begun(command: &StartRun) -> Vec<RunEvent> {
    let body = |text: Option<String>| text.map(Into::into);
    let given = Given::of(
        command,
        body(context_text(command)),
        body(specs_text(command)),
    );
    let new = NewRun {
        given,
        ..new_run(command.clone())
    };
    start(&Run::default(), new, &catalog()).expect("it is valid")
}

fn answers(calls: &[(&str, &str)]) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    let outcome = ModelOutcome::Completed(answer(1, calls));
    move |run| record_model(run, outcome, at(1_010))
}

#[test]
fn a_call_of_the_callers_tool_ends_the_run_with_it() {
    let story = given([begun(&with_tool()), admitted(), grant(1)])
        .when(answers(&[("a", "weather"), ("b", "weather")]))
        .then(&["llm-completed", "completed"])
        .due(&["settle 120"])
        .is(Status::Completed);
    let RunEvent::RunCompleted(done) = story.events().last().expect("an end").clone() else {
        unreachable!("the end is the last event")
    };
    let ids: Vec<_> = done.client_calls.iter().map(|call| &call.call_id).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(story.run.step, Step::Idle);
}

#[test]
fn what_else_the_turn_asks_for_is_not_executed() {
    let story = given([begun(&with_tool()), admitted(), grant(1)])
        .when(answers(&[("a", "calculator"), ("b", "weather")]))
        .then(&["llm-completed", "tool-failed", "completed"])
        .due(&["settle 120"])
        .is(Status::Completed);
    let events = story.events();
    let left_out = events.iter().find_map(|event| match event {
        RunEvent::ToolFailed(failed) => Some((failed.call_id.as_str(), failed.code.as_str())),
        _ => None,
    });
    assert_eq!(left_out, Some(("a", "not_executed")));
    let handed = events.iter().find_map(|event| match event {
        RunEvent::RunCompleted(done) => Some(done.client_calls.len()),
        _ => None,
    });
    assert_eq!(handed, Some(1));
}

#[test]
fn the_platforms_tools_go_on_as_ever_beside_them() {
    given([begun(&with_tool()), admitted(), grant(1)])
        .when(answers(&[("a", "calculator")]))
        .then(&["llm-completed"])
        .due(&["settle 120", "evaluate"])
        .is(Status::Running);
}

#[test]
fn an_answer_is_as_long_as_the_caller_wants_at_most() {
    let most = |wanted: u64| {
        let command = StartRun {
            sampling: Some(Sampling {
                max_output_tokens: Some(wanted),
                ..Sampling::default()
            }),
            ..hello()
        };
        let story = given([begun(&command), admitted()]);
        asks(&story.run, 1).expect("it is due").max_output_tokens
    };
    assert_eq!((most(5), most(5_000)), (5, 1_000));
}

#[test]
fn what_was_said_before_comes_to_the_prompt() {
    let plain = given([begun(&hello())]).run.context_tokens();
    let command = StartRun {
        context: vec![user(&"word ".repeat(100))],
        ..hello()
    };
    let run = given([begun(&command)]).run;
    assert!(run.context_tokens() >= plain + 500);
    let brought = brought(&command);
    assert_eq!(brought.texts, ["word ".repeat(100)]);
    assert!(brought.template_tokens > 0);
}

#[test]
fn instructions_of_the_caller_stand_in_for_the_default_agents_alone() {
    let instructs = |agent: Option<&str>, context: Vec<Message>| {
        let command = StartRun {
            agent: agent.map(str::to_owned),
            context,
            ..hello()
        };
        given([begun(&command)])
            .run
            .given()
            .is_some_and(|given| given.instructs)
    };
    assert!(instructs(None, vec![system()]));
    assert!(!instructs(Some("default"), vec![system()]));
    assert!(!instructs(None, vec![user("a")]));
}

#[test]
fn a_conversation_may_end_with_a_tools_result() {
    let command = StartRun {
        input: String::new(),
        context: vec![user("warm?"), asked("c1"), result_for("c1")],
        ..hello()
    };
    validate(&command, &catalog(), LIMITS).expect("it is valid");
    assert_eq!(given([begun(&command)]).run.entries, []);
}

#[test]
fn a_session_takes_the_results_that_it_waits_for() {
    let command = StartRun {
        input: String::new(),
        session_id: Some(run_id().own_session()),
        context: vec![system(), result_for("c1")],
        ..hello()
    };
    validate(&command, &catalog(), LIMITS).expect("it is valid");
}

#[test]
fn what_a_caller_brings_is_bounded() {
    let check = |command: StartRun| match validate(&command, &catalog(), LIMITS) {
        Err(crate::error::DomainError::Invalid { field, .. }) => field,
        other => unreachable!("{other:?}"),
    };
    let context = |context| StartRun { context, ..hello() };
    let tools = |client_tools| StartRun {
        client_tools,
        ..hello()
    };
    let sampling = |sampling| StartRun {
        sampling: Some(sampling),
        ..hello()
    };
    let mut deep = json!({});
    for _ in 0..70 {
        deep = json!({ "a": deep });
    }
    let named = |name: &str| ToolSpec {
        name: name.into(),
        ..weather()
    };
    for (field, bad) in [
        ("context", context(vec![user("a"); 2_049])),
        ("context", context(vec![user(&"a".repeat(5_000))])),
        ("context", context(vec![result_for("c1")])),
        ("context", context(vec![asked("")])),
        (
            "context",
            StartRun {
                session_id: Some(run_id().own_session()),
                ..context(vec![asked("c1"), result_for("c1")])
            },
        ),
        ("client_tools", tools(vec![weather(), weather()])),
        ("client_tools", tools(vec![named("calculator")])),
        ("client_tools", tools(vec![named("a b")])),
        (
            "client_tools",
            tools(vec![ToolSpec {
                parameters: deep,
                ..weather()
            }]),
        ),
        (
            "sampling.temperature",
            sampling(Sampling {
                temperature: Some(2.5),
                ..Sampling::default()
            }),
        ),
        (
            "sampling.tool_name",
            sampling(Sampling {
                tool_name: Some("a".to_owned()),
                ..Sampling::default()
            }),
        ),
        (
            "sampling.stop",
            sampling(Sampling {
                stop: vec![String::new()],
                ..Sampling::default()
            }),
        ),
    ] {
        assert_eq!(check(bad), field);
    }
}
