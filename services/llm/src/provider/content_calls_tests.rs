//! One table of contents and what they mean, tried whole and cut at every byte.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn recogniser() -> Recogniser {
    Recogniser::new(["calculator".to_owned(), "search".to_owned()])
}

/// Text and calls, after the content came in these fragments.
fn read<'a>(fragments: impl IntoIterator<Item = &'a str>) -> (String, Vec<(String, Value)>) {
    let mut recogniser = recogniser();
    let mut found: Vec<Found> = fragments
        .into_iter()
        .flat_map(|f| recogniser.push(f))
        .collect();
    found.extend(recogniser.finish(true));
    let (mut text, mut calls) = (String::new(), Vec::new());
    for item in found {
        match item {
            Found::Text(more) => text.push_str(&more),
            Found::Call { name, arguments } => calls.push((name, arguments)),
        }
    }
    (text, calls)
}

fn calc(expression: &str) -> (String, Value) {
    ("calculator".into(), json!({ "expression": expression }))
}

type Case = (&'static str, &'static str, Vec<(String, Value)>);

fn cases() -> Vec<Case> {
    let one = || vec![calc("12*7")];
    let two = || vec![calc("12*7"), ("search".to_owned(), json!({ "q": "a}b" }))];
    vec![
        // Bare, and as llama.cpp's models like to dress it.
        (
            r#"{"name": "calculator", "arguments": {"expression": "12*7"}}"#,
            "",
            one(),
        ),
        (
            "\n {\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}} \n",
            "",
            one(),
        ),
        (
            "```json\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n```",
            "",
            one(),
        ),
        (
            "```\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n```\n",
            "",
            one(),
        ),
        (
            "<tool_call>\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n</tool_call>",
            "",
            one(),
        ),
        (
            "<tools>{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}</tools>",
            "",
            one(),
        ),
        // Other shapes of the same.
        (
            r#"{"name":"calculator","parameters":{"expression":"12*7"}}"#,
            "",
            one(),
        ),
        (
            r#"{"name":"calculator","arguments":"{\"expression\":\"12*7\"}"}"#,
            "",
            one(),
        ),
        (
            r#"{"type":"function","function":{"name":"calculator","arguments":{"expression":"12*7"}}}"#,
            "",
            one(),
        ),
        (
            r#"{"tool_calls":[{"name":"calculator","arguments":{"expression":"12*7"}}]}"#,
            "",
            one(),
        ),
        // Broken a little: closing brackets too few or too many, a raw line break in a string.
        (
            r#"{"name":"calculator","arguments":{"expression":"12*7"}"#,
            "",
            one(),
        ),
        (
            r#"{"name":"calculator","arguments":{"expression":"12*7"}}}"#,
            "",
            one(),
        ),
        (
            "{\"name\":\"search\",\"arguments\":{\"q\":\"a\nb\"}}",
            "",
            vec![("search".to_owned(), json!({ "q": "a\nb" }))],
        ),
        // Several.
        (
            "{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n{\"name\":\"search\",\"arguments\":{\"q\":\"a}b\"}}",
            "",
            two(),
        ),
        (
            r#"[{"name":"calculator","arguments":{"expression":"12*7"}}, {"name":"search","arguments":{"q":"a}b"}}]"#,
            "",
            two(),
        ),
        (
            "```json\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n```\n```json\n{\"name\":\"search\",\"arguments\":{\"q\":\"a}b\"}}\n```",
            "",
            two(),
        ),
        (
            "<tool_call>{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}</tool_call>\n<tool_call>{\"name\":\"search\",\"arguments\":{\"q\":\"a}b\"}}</tool_call>",
            "",
            two(),
        ),
        // With text around it.
        (
            "Let me see.\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}",
            "Let me see.\n",
            one(),
        ),
        (
            "```json\n{\"name\":\"calculator\",\"arguments\":{\"expression\":\"12*7\"}}\n```\nThat is it.",
            "That is it.",
            one(),
        ),
        // No calls: each must come out as it went in.
        ("The answer is 84.", "The answer is 84.", vec![]),
        ("", "", vec![]),
        (" \n\n", " \n\n", vec![]),
        ("{\"city\": \"Paris\"}", "{\"city\": \"Paris\"}", vec![]),
        (
            r#"{"name":"rm","arguments":{"path":"/"}}"#,
            r#"{"name":"rm","arguments":{"path":"/"}}"#,
            vec![],
        ),
        (
            r#"{"name":"calculator"}"#,
            r#"{"name":"calculator"}"#,
            vec![],
        ),
        ("[1, 2]\n[]\n", "[1, 2]\n[]\n", vec![]),
        (
            "a {\"name\":\"calculator\",\"arguments\":{}} b",
            "a {\"name\":\"calculator\",\"arguments\":{}} b",
            vec![],
        ),
        (
            "```rust\nfn main() {}\n```\n",
            "```rust\nfn main() {}\n```\n",
            vec![],
        ),
        (
            "``` x\n<tool_box>\n<b>\n",
            "``` x\n<tool_box>\n<b>\n",
            vec![],
        ),
        (
            "{\"name\": \"calculator\", \"argu",
            "{\"name\": \"calculator\", \"argu",
            vec![],
        ),
        (
            "{ not json }\nmore → text 😀",
            "{ not json }\nmore → text 😀",
            vec![],
        ),
    ]
}

#[test]
fn contents_are_read_as_the_table_says() {
    for (content, text, calls) in cases() {
        assert_eq!(read([content]), (text.to_owned(), calls), "{content:?}");
    }
}

#[test]
fn a_cut_at_any_place_changes_nothing() {
    for (content, text, calls) in cases() {
        for at in (0..=content.len()).filter(|at| content.is_char_boundary(*at)) {
            let (left, right) = content.split_at(at);
            assert_eq!(
                read([left, right]),
                (text.to_owned(), calls.clone()),
                "{left:?} {right:?}"
            );
        }
        let single: Vec<String> = content.chars().map(String::from).collect();
        assert_eq!(
            read(single.iter().map(String::as_str)),
            (text.to_owned(), calls),
            "{content:?}"
        );
    }
}

#[test]
fn text_is_not_held_back() {
    let mut recogniser = recogniser();
    for word in ["The", " answer", " is {", "84}", "\nor", " so."] {
        assert_eq!(recogniser.push(word), [Found::Text(word.to_owned())]);
    }
}

#[test]
fn an_answer_that_was_cut_off_is_no_call() {
    let mut recogniser = recogniser();
    let cut = r#"{"name":"calculator","arguments":{"expression":"12*7"}"#;
    assert_eq!(recogniser.push(cut), []);
    assert_eq!(recogniser.finish(false), [Found::Text(cut.to_owned())]);
}

#[test]
fn what_is_held_is_bounded() {
    let mut recogniser = recogniser();
    let mut given = recogniser.push("{\"name\":\"").len();
    for _ in 0..2_000 {
        given += recogniser.push(&"x".repeat(64)).len();
    }
    assert!(given > 0);
    assert!(recogniser.held.len() <= MAX_HELD_BYTES + 64);
}

proptest! {
    /// Whatever a model writes, nothing of it is lost unless it belongs to a call, and fragments do
    /// not matter.
    #[test]
    fn any_text_survives_any_fragments(
        parts in prop::collection::vec(
            prop_oneof![
                "[a-z{}\\[\\]\"`<>\n ,:/_]{0,12}",
                Just("```json\n".to_owned()),
                Just("<tool_call>".to_owned()),
                Just("{\"name\":\"calculator\",\"arguments\":{}}".to_owned()),
            ],
            0..12,
        ),
    ) {
        let whole = parts.concat();
        let together = read([whole.as_str()]);
        let apart = read(parts.iter().map(String::as_str));
        prop_assert_eq!(&together, &apart);
        if together.1.is_empty() {
            prop_assert_eq!(together.0, whole);
        }
    }
}
