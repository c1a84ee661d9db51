//! What is answered when nothing was scripted: enough of a model for a run to have tool calls.
//!
//! - The last user message with lines `turn N: call NAME {json}` is a course: the answer to it is what
//!   it says of turn N, N counting the answers since; where it says nothing more, a text. The
//!   conversation alone decides, so that asking again gets the same.
//! - The last message is a tool result: a text that contains the result.
//! - A user's line `call NAME {json}` where the tool NAME is offered: that call; several lines,
//!   several calls in one answer.
//! - An arithmetic expression such as `12*7` where `calculator` is offered: a call of it.
//! - Anything else: a few words that repeat what was said.

use crate::script::ScriptedCall;
use crate::wire::{ChatRequest, Message};

const ECHO_WORDS: usize = 12;

/// Text and tool calls of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Content {
    /// The text, perhaps empty.
    pub text: String,
    /// The calls, perhaps none.
    pub calls: Vec<ScriptedCall>,
}

pub(crate) fn respond(request: &ChatRequest) -> Content {
    let Some(last) = request.messages.last() else {
        return text("Nothing was asked.".into());
    };
    if let Some(content) = course(request) {
        return content;
    }
    let said = last.text();
    match last.role.as_str() {
        "tool" => text(format!("The result is {said}.")),
        "user" => {
            let calls = calls(request, &said);
            if calls.is_empty() {
                echo(&said)
            } else {
                Content {
                    text: String::new(),
                    calls,
                }
            }
        }
        _ => echo(&said),
    }
}

/// The next turn of the course that a user has laid down, if one has.
fn course(request: &ChatRequest) -> Option<Content> {
    let is_course = |m: &Message| m.role == "user" && m.text().lines().any(|l| step(l).is_some());
    let at = request.messages.iter().rposition(is_course)?;
    let (before, since) = request.messages.split_at_checked(at + 1)?;
    let turn = 1 + since.iter().filter(|m| m.role == "assistant").count();
    let said = before.last()?.text();
    let now = said.lines().filter_map(step).filter(|(n, _)| *n == turn);
    let calls = now.filter_map(|(_, line)| explicit(line));
    let calls: Vec<ScriptedCall> = calls.filter(|call| request.offers(&call.name)).collect();
    Some(match calls.is_empty() {
        true => text(format!("The course has ended after {} turns.", turn - 1)),
        false => Content {
            text: String::new(),
            calls,
        },
    })
}

/// `turn N: …`
fn step(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.trim().strip_prefix("turn ")?.split_once(':')?;
    Some((number.parse().ok()?, rest))
}

fn text(text: String) -> Content {
    Content {
        text,
        calls: Vec::new(),
    }
}

fn echo(said: &str) -> Content {
    let words: Vec<&str> = said.split_whitespace().take(ECHO_WORDS).collect();
    text(format!("You said: {}", words.join(" ")))
}

fn calls(request: &ChatRequest, said: &str) -> Vec<ScriptedCall> {
    let asked: Vec<ScriptedCall> = said
        .lines()
        .filter_map(explicit)
        .filter(|c| request.offers(&c.name))
        .collect();
    if !asked.is_empty() || !request.offers("calculator") {
        return asked;
    }
    let calculator = |expression: &str| {
        ScriptedCall::new(
            "calculator",
            &serde_json::json!({ "expression": expression }),
        )
    };
    arithmetic(said).map(calculator).into_iter().collect()
}

/// `call NAME {json}`; without arguments, an empty object.
fn explicit(line: &str) -> Option<ScriptedCall> {
    let rest = line.trim().strip_prefix("call ")?.trim_start();
    let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, "{}"));
    Some(ScriptedCall {
        name: name.to_owned(),
        arguments: arguments.trim().to_owned(),
        ..ScriptedCall::default()
    })
}

/// The first stretch of digits and operators that has an operator between two operands.
fn arithmetic(said: &str) -> Option<&str> {
    said.split(|c: char| !(c.is_ascii_digit() || " +-*/().".contains(c)))
        .map(|part| part.trim_matches(|c: char| c == ' ' || c == '.'))
        .find(|part| is_expression(part))
}

fn is_expression(part: &str) -> bool {
    let operator = part
        .char_indices()
        .skip(1)
        .find(|(_, c)| "+-*/".contains(*c));
    let Some((at, _)) = operator else {
        return false;
    };
    let digit = |s: &str| s.contains(|c: char| c.is_ascii_digit());
    part.split_at_checked(at)
        .is_some_and(|(left, right)| digit(left) && digit(right))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn request(tools: &[&str], messages: serde_json::Value) -> ChatRequest {
        let tools: Vec<_> = tools
            .iter()
            .map(|t| serde_json::json!({ "function": { "name": t } }))
            .collect();
        let body = serde_json::json!({ "model": "m", "messages": messages, "tools": tools });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn arithmetic_is_found_where_it_is() {
        for (said, expected) in [
            ("What is 12*7?", Some("12*7")),
            ("(3 + 4) / 2.5 please", Some("(3 + 4) / 2.5")),
            ("compute 1234*77.", Some("1234*77")),
            ("on 2026 we met", None),
            ("a - b", None),
            ("well - 5 of them", None),
        ] {
            assert_eq!(arithmetic(said), expected, "{said}");
        }
    }

    #[test]
    fn the_calculator_is_asked_only_when_it_is_offered() {
        let messages = serde_json::json!([{ "role": "user", "content": "What is 12*7?" }]);
        let with = respond(&request(&["calculator"], messages.clone()));
        assert_eq!(with.calls[0].arguments, r#"{"expression":"12*7"}"#);
        let without = respond(&request(&[], messages));
        assert!(without.calls.is_empty());
        assert_eq!(without.text, "You said: What is 12*7?");
    }

    #[test]
    fn lines_ask_for_tools_in_parallel_and_results_are_repeated() {
        let said = "call a {\"x\":1}\ncall b\ncall unknown {}";
        let messages = serde_json::json!([{ "role": "user", "content": said }]);
        let asked = respond(&request(&["a", "b"], messages));
        let names: Vec<_> = asked.calls.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let messages = serde_json::json!([{ "role": "tool", "content": "84" }]);
        assert_eq!(
            respond(&request(&["a"], messages)).text,
            "The result is 84."
        );
    }

    #[test]
    fn a_course_goes_on_by_the_answers_since_whatever_was_said_before() {
        let said = "turn 1: call a {\"x\":1}\nturn 1: call b\nturn 2: call a";
        let user = serde_json::json!({ "role": "user", "content": said });
        let answer = serde_json::json!({ "role": "assistant", "content": "" });
        let result = serde_json::json!({ "role": "tool", "content": "7" });
        let after = |messages: &[&serde_json::Value]| {
            respond(&request(&["a", "b"], serde_json::json!(messages)))
        };
        let names = |content: Content| -> Vec<String> {
            content.calls.into_iter().map(|call| call.name).collect()
        };
        assert_eq!(names(after(&[&answer, &user])), ["a", "b"]);
        let second = [&user, &answer, &result, &result];
        assert_eq!(names(after(&second)), ["a"]);
        let third = [&user, &answer, &result, &result, &answer, &result];
        assert_eq!(after(&third).text, "The course has ended after 2 turns.");
    }
}
