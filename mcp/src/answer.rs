//! What a server answered, as the result of a tool.
//!
//! Structured content is the result as it is. Else the parts are: one text alone is the text, or the
//! object or list that it holds, so that policy finds fields by name; anything else is a list of
//! parts, in which what is not text is kept as base64 while it is small.

use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, ResourceContents};
use serde_json::{Value, json};

use crate::pool::Answer;

/// Characters of an error that the model is told.
const MOST_MESSAGE_CHARS: usize = 4_000;
/// Of one part that is no text, as base64.
const MOST_BASE64_BYTES: usize = 64 << 10;

/// A result.
pub(crate) fn of_result(result: CallToolResult) -> Answer {
    if result.is_error == Some(true) {
        return failed("tool_failed", &error_text(&result));
    }
    Answer::Done(match result.structured_content {
        Some(structured) => structured,
        None => of_parts(result.content),
    })
}

/// An error of the protocol: an answer all the same.
pub(crate) fn of_error(error: &ErrorData) -> Answer {
    let code = match error.code {
        ErrorCode::INVALID_PARAMS => "bad_arguments",
        ErrorCode::METHOD_NOT_FOUND => "no_such_tool",
        _ => "tool_failed",
    };
    failed(code, &error.message)
}

fn of_parts(parts: Vec<ContentBlock>) -> Value {
    if let [ContentBlock::Text(text)] = parts.as_slice() {
        return match serde_json::from_str(&text.text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => Value::String(text.text.clone()),
        };
    }
    parts.into_iter().map(part).collect()
}

fn part(block: ContentBlock) -> Value {
    match block {
        ContentBlock::Text(text) => json!({ "type": "text", "text": text.text }),
        ContentBlock::Image(image) => binary("image", Some(image.mime_type), None, image.data),
        ContentBlock::Audio(audio) => binary("audio", Some(audio.mime_type), None, audio.data),
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents {
                uri,
                mime_type,
                text,
                ..
            } => {
                json!({ "type": "resource", "uri": uri, "mime_type": mime_type, "text": text })
            }
            ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob,
                ..
            } => binary("resource", mime_type, Some(uri), blob),
            _ => unknown(),
        },
        ContentBlock::ResourceLink(link) => {
            json!({ "type": "resource_link", "uri": link.uri, "name": link.name })
        }
        _ => unknown(),
    }
}

/// What later revisions add.
fn unknown() -> Value {
    json!({ "type": "unknown", "left_out": "this platform does not know the part" })
}

fn binary(kind: &str, mime_type: Option<String>, uri: Option<String>, data: String) -> Value {
    let mut part = json!({ "type": kind });
    let mut set = |name: &str, value: Value| {
        if let (Some(fields), false) = (part.as_object_mut(), value.is_null()) {
            fields.insert(name.to_owned(), value);
        }
    };
    set("mime_type", mime_type.into());
    set("uri", uri.into());
    if data.len() > MOST_BASE64_BYTES {
        let bytes = data.len() / 4 * 3;
        set(
            "left_out",
            format!("about {bytes} bytes that are no text").into(),
        );
    } else {
        set("base64", data.into());
    }
    part
}

fn error_text(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|part| match part {
        ContentBlock::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    match (&result.structured_content, text.is_empty()) {
        (Some(structured), true) => structured.to_string(),
        (None, true) => "the tool failed and said no more".to_owned(),
        (_, false) => text,
    }
}

pub(crate) fn failed(code: &str, message: &str) -> Answer {
    Answer::Failed {
        code: code.to_owned(),
        message: message.chars().take(MOST_MESSAGE_CHARS).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
    use super::*;

    fn answer(result: Value) -> Answer {
        of_result(serde_json::from_value(result).unwrap())
    }

    fn done(result: Value) -> Value {
        match answer(result) {
            Answer::Done(value) => value,
            Answer::Failed { message, .. } => panic!("{message}"),
        }
    }

    #[test]
    fn structure_is_preferred_and_one_text_is_itself() {
        let text = json!([{ "type": "text", "text": "seven" }]);
        let both = json!({ "content": text, "structuredContent": { "n": 7 } });
        assert_eq!(done(both), json!({ "n": 7 }));
        assert_eq!(done(json!({ "content": text })), json!("seven"));
        let object = json!([{ "type": "text", "text": "{\"n\": 7}" }]);
        assert_eq!(done(json!({ "content": object })), json!({ "n": 7 }));
        // A number in words stays the words that it was.
        let number = json!([{ "type": "text", "text": "007" }]);
        assert_eq!(done(json!({ "content": number })), json!("007"));
        assert_eq!(done(json!({ "content": [] })), json!([]));
    }

    #[test]
    fn what_is_no_text_is_kept_while_it_is_small() {
        let image = |data: String| {
            let parts = json!([{ "type": "text", "text": "see" },
                { "type": "image", "mimeType": "image/png", "data": data }]);
            done(json!({ "content": parts }))
        };
        let small = image("AAAA".to_owned());
        assert_eq!(small[0], json!({ "type": "text", "text": "see" }));
        assert_eq!(
            small[1],
            json!({ "type": "image", "mime_type": "image/png", "base64": "AAAA" })
        );
        let large = image("A".repeat(100_000));
        assert!(large[1]["left_out"].is_string(), "{large}");
        assert!(large.to_string().len() < 300);
    }

    #[test]
    fn an_error_is_told_and_bounded() {
        let text = json!([{ "type": "text", "text": "x".repeat(10_000) }]);
        let Answer::Failed { code, message } = answer(json!({ "content": text, "isError": true }))
        else {
            panic!("it failed");
        };
        assert_eq!((code.as_str(), message.len()), ("tool_failed", 4_000));
        let error = ErrorData::invalid_params("n is missing", None);
        assert_eq!(of_error(&error), failed("bad_arguments", "n is missing"));
    }
}
