#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use nexus_events::RunId;
use nexus_events::model::ToolCall;
use proptest::prelude::*;

use super::*;

fn user(words: usize) -> Message {
    Message::User {
        text: "word ".repeat(words),
    }
}

fn assistant(calls: &[&str]) -> Message {
    let call = |id: &&str| ToolCall {
        id: (*id).to_owned(),
        name: "look".to_owned(),
        arguments: serde_json::json!({ "at": "it" }),
    };
    Message::Assistant {
        text: "so be it ".repeat(10),
        tool_calls: calls.iter().map(call).collect(),
    }
}

fn tool(id: &str, words: usize) -> Message {
    Message::Tool {
        call_id: id.to_owned(),
        name: "look".to_owned(),
        text: "seen ".repeat(words),
    }
}

fn history(messages: Vec<Message>, summary: Option<&str>) -> History {
    let run_id = RunId::derive(&["run"]);
    let unit = |(message, messages)| Unit {
        message,
        upto: Upto { run_id, messages },
    };
    History {
        instructions: Some("Be kind."),
        callers: vec![],
        summary: summary.map(str::to_owned),
        units: messages.into_iter().zip(1..).map(unit).collect(),
    }
}

fn room(tokens: u64) -> Room {
    Room {
        tokens,
        context: tokens + 1_000,
        output: 1_000,
    }
}

async fn divided(messages: Vec<Message>, summary: Option<&str>, tokens: u64) -> Task {
    task(history(messages, summary), &[], room(tokens), &[], false).await
}

fn older(task: Task) -> Older {
    match task {
        Task::Summarise(older) => older,
        Task::Answer { messages, .. } => panic!("all of it is told: {messages:?}"),
    }
}

#[tokio::test]
async fn what_fits_is_told_whole_behind_the_summary_of_what_came_before() {
    let task = divided(vec![user(5)], Some("she is Ada"), 1_000).await;
    let Task::Answer {
        messages: told,
        most_output,
    } = task
    else {
        panic!("it fits")
    };
    assert_eq!(most_output, 1_000);
    let [
        Message::System { text },
        Message::User { text: summary },
        Message::User { .. },
    ] = told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert_eq!(text, "Be kind.");
    assert!(summary.ends_with("she is Ada"), "{summary}");
}

#[tokio::test]
async fn what_is_oldest_is_summarised_and_half_of_the_room_stays_word_for_word() {
    // 100 words are 175 tokens by their bytes and envelope.
    let older = older(divided(vec![user(100); 20], None, 3_000).await);
    assert_eq!((older.count, older.upto.messages), (12, 12));
    assert!((700..=750).contains(&older.max_tokens), "{older:?}");
    let [Message::System { .. }, Message::User { text }] = older.messages.as_slice() else {
        panic!("{older:?}")
    };
    assert_eq!(text.matches("[user]").count(), 12);
    // By bytes, which is what is reserved.
    assert!(older.kept_tokens > 8 * 500, "{older:?}");
}

#[tokio::test]
async fn an_earlier_summary_becomes_part_of_the_next() {
    let older = older(divided(vec![user(100); 20], Some("she is Ada"), 2_000).await);
    let [_, Message::User { text }] = older.messages.as_slice() else {
        panic!("{older:?}")
    };
    assert!(text.starts_with("[summary of what was said before this]\nshe is Ada"));
}

#[tokio::test]
async fn what_cannot_be_read_at_once_is_summarised_in_pieces() {
    let older = older(divided(vec![user(100); 100], None, 2_000).await);
    assert!((5..=11).contains(&older.count), "{}", older.count);
}

#[tokio::test]
async fn results_stay_with_their_calls() {
    let turn = [assistant(&["a", "b"]), tool("a", 200), tool("b", 200)];
    let mut messages = vec![user(10)];
    messages.extend((0..6).flat_map(|_| turn.clone()));
    let older = older(divided(messages.clone(), None, 2_500).await);
    let next = &messages[older.count as usize];
    assert!(!matches!(next, Message::Tool { .. }), "{next:?}");
}

#[tokio::test]
async fn what_is_newest_is_never_summarised() {
    let Task::Answer {
        messages,
        most_output,
    } = divided(vec![user(5_000)], None, 1_000).await
    else {
        panic!("there is nothing before it")
    };
    assert_eq!((messages.len(), most_output), (2, 16));
    let older = older(divided(vec![user(10), user(5_000)], None, 1_000).await);
    assert_eq!(older.count, 1);
}

#[tokio::test]
async fn a_message_that_nobody_can_read_at_once_loses_its_middle() {
    let long = format!("{}ä{}", "x".repeat(40_000), "z".repeat(40_000));
    let messages = vec![Message::User { text: long }, user(10)];
    let older = older(divided(messages, None, 1_000).await);
    let [_, Message::User { text }] = older.messages.as_slice() else {
        panic!("{older:?}")
    };
    assert!(text.len() < 4_000, "{}", text.len());
    assert!(text.contains("bytes are left out here"), "{text}");
    assert!(text.contains('x') && text.contains('z'));
}

proptest! {
    /// Whatever was said: each summary goes further than the one before, and what is shown can be
    /// read. So a turn comes to its call.
    #[test]
    fn summaries_come_to_an_end(
        words in proptest::collection::vec(1_usize..400, 2..60),
        tokens in 800_u64..4_000,
    ) {
        let mut messages: Vec<Message> = words.into_iter().map(user).collect();
        let mut summary = None;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..60 {
            let before = messages.len();
            match runtime.block_on(divided(messages.clone(), summary, tokens)) {
                Task::Answer { .. } => return Ok(()),
                Task::Summarise(older) => {
                    prop_assert!(older.count > 0 && (older.count as usize) < before);
                    let shown: u64 = runtime.block_on(async {
                        let mut sum = 0;
                        for message in &older.messages {
                            sum += size(message, &[]).await.likely;
                        }
                        sum
                    });
                    prop_assert!(shown + older.max_tokens <= tokens + 256, "{shown}");
                    messages.drain(..older.count as usize);
                    summary = Some("so it was");
                }
            }
        }
        prop_assert!(false, "it never ends");
    }
}
