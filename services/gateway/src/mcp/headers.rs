//! Headers of the stateless revision, by which whoever stands between client and server may route a
//! request without reading it: they have to say what the body says, or two parties act on different
//! requests.

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::wire::{HEADER_MISMATCH, Message, RpcError};

const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// Checks that the headers name the body's method, and its tool where it calls one.
///
/// # Errors
/// They do not.
pub(super) fn check(headers: &HeaderMap, message: &Message) -> Result<(), RpcError> {
    let method = message.method.as_deref().unwrap_or_default();
    match single(headers, METHOD)? {
        Some(named) if named == method => {}
        Some(_) => return Err(mismatch("Mcp-Method names another method than the body")),
        None => return Err(mismatch("the header Mcp-Method is missing")),
    }
    let name = message.param("name").and_then(Value::as_str);
    let Some(name) = name.filter(|_| matches!(method, "tools/call" | "prompts/get")) else {
        return Ok(());
    };
    match single(headers, NAME)?.map(decoded) {
        Some(Some(named)) if named == name => Ok(()),
        Some(_) => Err(mismatch("Mcp-Name names something else than the body")),
        None => Err(mismatch("the header Mcp-Name is missing")),
    }
}

/// The value of a header, which must be there once at most.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if values.next().is_none() => Ok(Some(text.trim())),
        _ => Err(mismatch(format!(
            "the header {name} must be there once, in ASCII"
        ))),
    }
}

/// A value that no header can hold as it is comes as `=?base64?…?=`.
fn decoded(value: &str) -> Option<String> {
    let wrapped = (value.strip_prefix("=?base64?")).and_then(|rest| rest.strip_suffix("?="));
    match wrapped {
        Some(code) => String::from_utf8(BASE64_STANDARD.decode(code).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn mismatch(detail: impl Into<String>) -> RpcError {
    RpcError::new(HEADER_MISMATCH, detail).with_status(400)
}
