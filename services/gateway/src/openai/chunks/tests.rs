#![expect(clippy::unwrap_used, reason = "a test may fail")]

use nexus_events::model::{FinishReason, Usage};
use serde_json::{Value, json};

use super::*;

fn text(turn: u32, text: &str) -> Live {
    let text = text.to_owned();
    Live::Text { turn, text }
}

fn call(index: usize, name: &str, arguments: &str) -> Live {
    Live::ToolCall {
        turn: 1,
        index,
        id: format!("c{index}"),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn done(turn: u32, text: &str, calls: &[(&str, Value)]) -> LlmCompleted {
    let calls = calls.iter().zip(0..);
    LlmCompleted {
        turn,
        provider: "p".into(),
        model: "m".into(),
        text: text.into(),
        tool_calls: calls
            .map(|((name, arguments), index)| ToolCall {
                id: format!("c{index}"),
                name: (*name).to_owned(),
                arguments: arguments.clone(),
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
    }
}

fn chunks() -> Chunks {
    Chunks::new(["weather".to_owned()], false)
}

/// What a client puts together from chunks.
#[derive(Debug, Default, PartialEq)]
struct Client {
    text: String,
    calls: Vec<(String, String)>,
}

impl Client {
    fn take(&mut self, deltas: Vec<ChunkDelta>) {
        for delta in deltas {
            self.text.push_str(&delta.content.unwrap_or_default());
            for call in delta.tool_calls {
                if call.index == self.calls.len() {
                    self.calls
                        .push((call.function.name.unwrap(), String::new()));
                }
                self.calls[call.index].1.push_str(&call.function.arguments);
            }
        }
    }
}

#[test]
fn whatever_of_the_fragments_comes_the_client_has_the_answer() {
    let fragments = ["He", "llo", " you"];
    for heard in 0..=fragments.len() {
        let (mut chunks, mut client) = (chunks(), Client::default());
        for fragment in fragments.iter().take(heard) {
            client.take(chunks.live(text(1, fragment)).unwrap());
        }
        chunks.live(Live::Restart { turn: 1 }).unwrap();
        client.take(chunks.live(text(1, "Hel")).unwrap());
        client.take(chunks.recorded(&done(1, "Hello you", &[])).unwrap());
        // Too late: the turn has its answer.
        client.take(chunks.recorded(&done(1, "Hello you", &[])).unwrap());
        assert_eq!(client.text, "Hello you", "{heard} fragments");
    }
}

#[test]
fn whoever_joins_in_the_middle_of_a_turn_has_the_whole_of_it() {
    let mut chunks = Chunks::new(["weather".to_owned()], true);
    let mut client = Client::default();
    for fragment in [
        text(1, "lo"),
        call(0, "weather", "\"Rome\" }"),
        text(1, " you"),
    ] {
        client.take(chunks.live(fragment).unwrap());
    }
    assert_eq!(client, Client::default());
    let rome = [("weather", json!({ "city": "Rome" }))];
    client.take(chunks.recorded(&done(1, "Hello you", &rome)).unwrap());
    assert_eq!((client.text.as_str(), client.calls.len()), ("Hello you", 1));
    // Of the next turn, and of an attempt that begins anew, every fragment is heard.
    client.take(chunks.live(text(2, "And")).unwrap());
    assert!(client.text.ends_with("And"), "{client:?}");
    let mut chunks = Chunks::new([], true);
    assert_eq!(chunks.live(text(1, "lo")), Ok(vec![]));
    chunks.live(Live::Restart { turn: 1 }).unwrap();
    assert_eq!(chunks.live(text(1, "Hel")).map(|told| told.len()), Ok(1));
}

#[test]
fn another_answer_than_the_one_that_was_begun_is_not_mixed_with_it() {
    let mut chunks = chunks();
    chunks.live(text(1, "It is")).unwrap();
    chunks.live(Live::Restart { turn: 1 }).unwrap();
    assert_eq!(chunks.live(text(1, "Yes")), Err(Diverged));
    let mut chunks = self::chunks();
    chunks.live(text(1, "It is")).unwrap();
    assert_eq!(chunks.recorded(&done(1, "Yes", &[])), Err(Diverged));
}

#[test]
fn calls_are_streamed_in_fragments_and_the_platforms_own_are_not_told() {
    let (mut chunks, mut client) = (chunks(), Client::default());
    for fragment in [
        call(0, "calculator", "{}"),
        call(1, "weather", ""),
        call(1, "weather", "{ \"city\""),
        call(1, "weather", ": \"Rome\" }"),
    ] {
        client.take(chunks.live(fragment).unwrap());
    }
    let rome = json!({ "city": "Rome" });
    let asked = [("calculator", json!({})), ("weather", rome)];
    client.take(chunks.recorded(&done(1, "", &asked)).unwrap());
    let written = "{ \"city\": \"Rome\" }".to_owned();
    assert_eq!(client.calls, [("weather".to_owned(), written)]);
}

#[test]
fn calls_that_nobody_heard_are_told_whole() {
    let (mut chunks, mut client) = (chunks(), Client::default());
    let asked = [
        ("weather", json!({ "a": 1 })),
        ("weather", json!({ "a": 2 })),
    ];
    client.take(chunks.live(call(0, "", "{\"a\"")).unwrap());
    client.take(chunks.recorded(&done(1, "so:", &asked)).unwrap());
    let calls = ["{\"a\":1}", "{\"a\":2}"].map(|a| ("weather".to_owned(), a.to_owned()));
    assert_eq!(
        (client.text.as_str(), client.calls),
        ("so:", calls.to_vec())
    );
}

#[test]
fn texts_of_turns_are_apart() {
    let (mut chunks, mut client) = (chunks(), Client::default());
    client.take(chunks.recorded(&done(1, "Let me see.", &[])).unwrap());
    client.take(chunks.live(text(2, "4")).unwrap());
    client.take(chunks.live(text(1, "late")).unwrap());
    client.take(chunks.recorded(&done(2, "42", &[])).unwrap());
    assert_eq!(client.text, "Let me see.\n\n42");
}
