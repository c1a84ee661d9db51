//! What `http_request` gives back: read as it comes and no further than it may be. What is larger is
//! cut and says so, for a request that changed something has been made all the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use reqwest::Response;
use serde_json::{Map, Value, json};

use super::connect::failed;
use crate::ToolError;
use crate::validate::shape::Shape;

const MAX_HEADER_BYTES: usize = 16 << 10;

/// What an answer may take, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// The body as it comes.
    pub(crate) body: u64,
    /// The result as JSON, where some characters take six times their size.
    pub(crate) whole: u64,
}

/// Reads a response, as far as there is room.
pub(crate) async fn read(mut response: Response, room: Room) -> Result<Value, ToolError> {
    let most = usize::try_from(room.body.min(room.whole)).unwrap_or(usize::MAX);
    let mut body = BytesMut::new();
    let mut truncated = false;
    while let Some(chunk) = response.chunk().await.map_err(|cause| failed(&cause))? {
        let left = most.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if chunk.len() > left {
            truncated = true;
            break;
        }
    }
    let bounds = Shape::of_at_most(room.whole);
    loop {
        let answer = shown(&response, &body, truncated);
        if body.is_empty() || bounds.check(&answer).is_ok() {
            return Ok(answer);
        }
        truncated = true;
        body.truncate(body.len() / 2);
    }
}

fn shown(response: &Response, body: &[u8], truncated: bool) -> Value {
    let mut answer = json!({
        "status": response.status().as_u16(),
        "headers": headers(response),
        "truncated": truncated,
    });
    match text(body, truncated) {
        Some(text) => answer["body"] = text.into(),
        None => answer["body_base64"] = STANDARD.encode(body).into(),
    }
    answer
}

/// As text, if it is; a character that was cut in half is left out.
fn text(body: &[u8], truncated: bool) -> Option<&str> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(broken) if truncated && broken.error_len().is_none() => {
            std::str::from_utf8(&body[..broken.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn headers(response: &Response) -> Value {
    let mut headers = Map::new();
    let mut size = 0;
    for (name, value) in response.headers() {
        size += name.as_str().len() + value.len();
        let Ok(value) = value.to_str() else { continue };
        if size > MAX_HEADER_BYTES {
            break;
        }
        match headers.get_mut(name.as_str()) {
            Some(Value::String(earlier)) => {
                earlier.push_str(", ");
                earlier.push_str(value);
            }
            _ => {
                headers.insert(name.as_str().to_owned(), value.into());
            }
        }
    }
    Value::Object(headers)
}
