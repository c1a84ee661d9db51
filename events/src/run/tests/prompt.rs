//! What a prompt is bounded by: counts that were recorded, and bytes where there are none.

use super::*;
use crate::agent;
use crate::body::Body;

fn started_with(input: Body, prompt_tokens: Option<u64>) -> Vec<RunEvent> {
    let new = NewRun {
        input,
        prompt_tokens,
        ..new_run(hello())
    };
    start(&Run::default(), new, &catalog()).expect("it is valid")
}

fn counted(outcome: ToolOutcome, count: u64) -> ToolOutcome {
    match outcome {
        ToolOutcome::Completed(done) => ToolOutcome::Completed(ToolCompleted {
            tokens: Some(count),
            ..done
        }),
        failed => failed,
    }
}

/// What this adds to the bound of a run whose tool is at work.
fn added(outcome: ToolOutcome) -> u64 {
    let before = given(ready(&["a"])).run.context_tokens();
    let after = given(ready(&["a"])).when(|run| record_tool(run, outcome));
    after.run.context_tokens() - before
}

#[test]
fn a_prompt_is_instructions_and_tools_and_what_the_template_adds() {
    let agent = agent::newest("default").expect("it ships");
    let bare = prompt(agent, &[]);
    assert_eq!(bare.texts, [agent.instructions]);
    let equipped = prompt(
        agent,
        &[crate::tool::get("calculator")
            .expect("it is built in")
            .spec()],
    );
    assert_eq!(equipped.texts.len(), 2);
    assert!(equipped.texts[1].contains("\"expression\""));
    assert!(equipped.template_tokens > bare.template_tokens);
    assert!(bare.template_tokens > 3 + 2 * 3, "OpenAI's published rule");
}

#[test]
fn a_count_of_the_prompt_goes_before_its_bytes() {
    let run = given([started_with("hello".into(), Some(150))]).run;
    assert_eq!(run.context_tokens(), 150);
    let run = given([started_with("hello".into(), None)]).run;
    assert!(
        run.context_tokens() > 900,
        "the tools' description alone has more bytes than its tokens are"
    );
}

#[test]
fn what_the_session_said_before_comes_to_the_count() {
    let mut new = new_run(hello());
    new.prompt_tokens = Some(150);
    new.session.previous = Some(PreviousRun {
        run_id: run_id(),
        first_seq: 3,
        context_tokens: 5_000,
    });
    let joined = start(&Run::default(), new, &catalog()).expect("it is valid");
    assert_eq!(given([joined]).run.context_tokens(), 5_150);
}

#[test]
fn a_long_input_that_was_counted_leaves_room_for_an_answer() {
    let stored = || Body::Stored {
        object: format!("sha256:{}", "0".repeat(64)),
        bytes: 200 * 1024,
    };
    let mut catalog = catalog();
    if let Some(model) = catalog.models.get_mut(MODEL) {
        model.context_tokens = 128_000;
    }
    let room = |prompt_tokens| {
        let story = given([started_with(stored(), prompt_tokens), admitted()]);
        let ask = ask(&story.run, 1, None, &catalog)
            .expect("the model is known")
            .expect("it is due");
        (ask.input_tokens, ask.max_output_tokens)
    };
    assert_eq!(room(Some(51_000)), (51_000, 1_000));
    // No model reads more than its context, whatever the bytes are.
    assert_eq!(room(None), (128_000, 1_000));
}

#[test]
fn words_into_a_run_are_bounded_by_their_count_or_their_bytes() {
    let heard = |tokens| {
        let story = given(calling())
            .asked(|run| signal(run, "word by word".into(), tokens))
            .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(1_000)));
        story.run.context_tokens()
    };
    assert_eq!(
        heard(None) - heard(Some(3)),
        "word by word".len() as u64 - 3
    );
    assert!(heard(Some(3)) > 120 + 3, "the message has marks around it");
}

#[test]
fn results_are_bounded_by_their_count_and_errors_by_their_bytes() {
    let result = || result_of(1, "a");
    assert_eq!(added(counted(result(), 7)) - 7, added(result()) - 2);
    let told = "error: division by zero".len() as u64;
    assert_eq!(added(error_of(1, "a")) - told, added(result()) - 2);
}

#[test]
fn counts_are_written_only_where_there_are_any() {
    let written = |events: Vec<RunEvent>| serde_json::to_value(&events[0]).expect("it is data");
    let with = written(started_with("hello".into(), Some(150)));
    assert_eq!(with["data"]["prompt_tokens"], 150);
    let without = written(started_with("hello".into(), None));
    assert!(without["data"].get("prompt_tokens").is_none());
    let signalled = |tokens| {
        let input = "x".into();
        written(vec![RunSignalled { input, tokens }.into()])
    };
    assert_eq!(signalled(Some(1))["data"]["tokens"], 1);
    assert!(signalled(None)["data"].get("tokens").is_none());
}
