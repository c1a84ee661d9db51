//! The conversation as the items of a response's input, and as a run takes it.

use std::collections::BTreeMap;

use nexus_events::model::{Message, ToolCall};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::http::ApiError;
use crate::openai::messages::said_last;

/// What is said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Input {
    /// By a person.
    Text(String),
    /// By whom the items say.
    Items(Vec<InItem>),
}

/// An item. What it holds depends on its type.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InItem {
    /// `message` when absent, `function_call` or `function_call_output`; `reasoning` is accepted and
    /// left out.
    #[serde(default)]
    r#type: Option<String>,
    /// Of a message: `user`, `assistant`, `system` or `developer`.
    #[serde(default)]
    role: Option<String>,
    /// Of a message: a text, or parts that are texts.
    #[serde(default)]
    content: Option<Texts>,
    /// Of a call and of its result.
    #[serde(default)]
    call_id: Option<String>,
    /// Of a call: the function.
    #[serde(default)]
    name: Option<String>,
    /// Of a call: its arguments as JSON text.
    #[serde(default)]
    arguments: Option<String>,
    /// Of a result: what came of the call.
    #[serde(default)]
    output: Option<Texts>,
}

/// A text, or parts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Texts {
    Whole(String),
    Parts(Vec<Part>),
}

/// A part of a text.
#[derive(Debug, Deserialize, JsonSchema)]
struct Part {
    /// `input_text`, `output_text`, `text` or `refusal`.
    r#type: String,
    /// The text.
    #[serde(default)]
    text: Option<String>,
    /// What the model said instead of an answer.
    #[serde(default)]
    refusal: Option<String>,
}

/// The conversation before the input, and the input: what the person says last. `names` are the
/// functions of calls that were made before.
pub(crate) fn conversation(
    input: Input,
    mut names: BTreeMap<String, String>,
) -> Result<(Vec<Message>, String), ApiError> {
    let items = match input {
        Input::Text(text) => return Ok((vec![], text)),
        Input::Items(items) => items,
    };
    let mut said = Vec::with_capacity(items.len());
    for (item, index) in items.into_iter().zip(0_usize..) {
        take(item, &format!("input[{index}]"), &mut names, &mut said)?;
    }
    said_last(said)
}

fn take(
    item: InItem,
    field: &str,
    names: &mut BTreeMap<String, String>,
    said: &mut Vec<Message>,
) -> Result<(), ApiError> {
    let refuse = |detail: &str| Err(ApiError::invalid(field, detail));
    match item.r#type.as_deref().unwrap_or("message") {
        "message" => {
            let text = text(item.content, field)?;
            said.push(match item.role.as_deref() {
                Some("user") => Message::User { text },
                Some("system" | "developer") => Message::System { text },
                Some("assistant") => Message::Assistant {
                    text,
                    tool_calls: vec![],
                },
                _ => return refuse("a message is of user, assistant, system or developer"),
            });
        }
        "function_call" => {
            let (Some(id), Some(name)) = (item.call_id, item.name) else {
                return refuse("a function_call must have a `call_id` and a `name`");
            };
            names.insert(id.clone(), name.clone());
            let arguments = item.arguments.unwrap_or_default();
            let arguments = match arguments.trim() {
                "" => Value::Object(serde_json::Map::new()),
                // What the model wrote is told to it again as it was.
                text => serde_json::from_str(text).unwrap_or(Value::String(arguments)),
            };
            let call = ToolCall {
                id,
                name,
                arguments,
            };
            // What a model says and asks for in one turn is one message.
            match said.last_mut() {
                Some(Message::Assistant { tool_calls, .. }) => tool_calls.push(call),
                _ => said.push(Message::Assistant {
                    text: String::new(),
                    tool_calls: vec![call],
                }),
            }
        }
        "function_call_output" => {
            let call_id = item.call_id.unwrap_or_default();
            let Some(name) = names.get(&call_id).cloned() else {
                return refuse("a function_call_output must answer a call that was made before it");
            };
            let text = text(item.output, field)?;
            said.push(Message::Tool {
                call_id,
                name,
                text,
            });
        }
        "reasoning" => {}
        other => {
            let other: String = other.chars().take(64).collect();
            let detail = format!("an item of type {other:?} is not taken here");
            return Err(ApiError::invalid(field, detail));
        }
    }
    Ok(())
}

fn text(content: Option<Texts>, field: &str) -> Result<String, ApiError> {
    let parts = match content {
        None => return Ok(String::new()),
        Some(Texts::Whole(text)) => return Ok(text),
        Some(Texts::Parts(parts)) => parts,
    };
    let mut whole = String::new();
    for part in parts {
        match part.r#type.as_str() {
            "input_text" | "output_text" | "text" => {
                whole.push_str(part.text.as_deref().unwrap_or_default());
            }
            "refusal" => whole.push_str(part.refusal.as_deref().unwrap_or_default()),
            other => {
                let other: String = other.chars().take(64).collect();
                let detail = format!("parts must be texts here, and one is {other:?}");
                return Err(ApiError::invalid(field, detail));
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::*;

    fn read(input: Value, names: &[(&str, &str)]) -> Result<(Vec<Message>, String), ApiError> {
        let names = names
            .iter()
            .map(|(id, name)| ((*id).to_owned(), (*name).to_owned()));
        conversation(serde_json::from_value(input).unwrap(), names.collect())
    }

    #[test]
    fn what_a_turn_says_and_asks_for_is_one_message() {
        let call = |id: &str| {
            json!({ "type": "function_call", "id": "fc", "call_id": id, "name": "weather",
                    "arguments": "{\"city\":\"Rome\"}" })
        };
        let said = json!({ "type": "message", "role": "assistant",
                           "content": [{ "type": "output_text", "text": "Let me see." }] });
        let result = json!({ "type": "function_call_output", "call_id": "c1", "output": "31" });
        let (context, input) = read(json!([
            { "role": "developer", "content": "Be brief." }, { "role": "user", "content": "warm?" },
            { "type": "reasoning", "summary": [] }, said, call("c1"), call("c2"), result,
            { "role": "user", "content": [{ "type": "input_text", "text": "and now?" }] },
        ]), &[])
        .unwrap();
        assert_eq!((context.len(), input.as_str()), (4, "and now?"));
        let Some(Message::Assistant { text, tool_calls }) = context.get(2) else {
            unreachable!("{context:?}")
        };
        assert_eq!((text.as_str(), tool_calls.len()), ("Let me see.", 2));
    }

    #[test]
    fn a_result_may_answer_the_response_before() {
        let result = json!([{ "type": "function_call_output", "call_id": "c1", "output": "31" }]);
        let (context, _) = read(result.clone(), &[("c1", "weather")]).unwrap();
        assert_eq!(context.len(), 1);
        assert_eq!(read(result, &[]).unwrap_err().code(), "invalid");
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        for bad in [
            json!([]),
            json!([{ "role": "user", "content": [{ "type": "input_image" }] }]),
            json!([{ "type": "item_reference", "id": "x" }]),
            json!([{ "role": "tool", "content": "x" }]),
            json!([{ "type": "function_call", "name": "x" }]),
        ] {
            assert_eq!(
                read(bad.clone(), &[]).unwrap_err().code(),
                "invalid",
                "{bad}"
            );
        }
    }
}
