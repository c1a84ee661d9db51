//! What `http_request` is asked to send: read once, with every header and the body in bounds.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::ToolError;
use crate::builtin::read;

const MAX_URL: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_BODY: usize = 1 << 20;

/// What a caller may not say: whom the request is for, how its bytes travel, and what the platform
/// says itself.
const OURS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// A request that may be sent if its host is allowed.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Request {
    /// Reads the tool's arguments; a request that may change something carries the call's key.
    pub(crate) fn read(arguments: &Value, idempotency_key: &str) -> Result<Self, ToolError> {
        let arguments: Arguments = read(arguments)?;
        let url = read_url(&arguments.url)?;
        let mut headers = read_headers(&arguments.headers)?;
        let body = match (arguments.body, arguments.json) {
            (Some(_), Some(_)) => return Err(ToolError::arguments("give body or json, not both")),
            (Some(body), None) => Some(Bytes::from(body)),
            (None, Some(json)) => {
                headers
                    .entry("content-type")
                    .or_insert(HeaderValue::from_static("application/json"));
                Some(Bytes::from(json.to_string()))
            }
            (None, None) => None,
        };
        if body.as_ref().is_some_and(|body| body.len() > MAX_BODY) {
            return Err(ToolError::arguments(format!(
                "the body is larger than {MAX_BODY} bytes"
            )));
        }
        let method = read_method(&arguments.method)?;
        // An answer that has to be unpacked first could be of any size.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut request = Self {
            method,
            url,
            headers,
            body,
        };
        if request.changes_something() {
            let key = HeaderValue::from_str(idempotency_key)
                .map_err(|_| ToolError::failed("the call's idempotency key is no header"))?;
            request.headers.insert("idempotency-key", key);
        }
        Ok(request)
    }

    pub(crate) fn changes_something(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    pub(crate) fn keep_headers(&mut self, names: &[&str]) {
        let kept = std::mem::take(&mut self.headers);
        let kept = kept
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        self.headers = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
}

fn read_url(text: &str) -> Result<Url, ToolError> {
    if text.len() > MAX_URL {
        return Err(ToolError::arguments(format!(
            "the URL is longer than {MAX_URL} bytes"
        )));
    }
    // The parser would leave these out silently, or read a backslash as a slash.
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(ToolError::arguments(
            "the URL has blanks, control characters or a backslash",
        ));
    }
    let mut url = Url::parse(text)
        .map_err(|cause| ToolError::arguments(format!("this is no absolute URL: {cause}")))?;
    url.set_fragment(None);
    Ok(url)
}

fn read_method(text: &str) -> Result<Method, ToolError> {
    match text.to_ascii_uppercase().as_str() {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "OPTIONS" => Ok(Method::OPTIONS),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(ToolError::arguments(
            "the method is none of GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE",
        )),
    }
}

fn read_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, ToolError> {
    let size: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if given.len() > MAX_HEADERS || size > MAX_HEADER_BYTES {
        return Err(ToolError::arguments(format!(
            "more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them"
        )));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown: String = name.chars().take(40).collect();
        let bad = |what| ToolError::arguments(format!("header {shown:?} {what}"));
        let name: HeaderName = name.parse().map_err(|_| bad("has a name that is none"))?;
        if OURS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(bad("is not the caller's to set"));
        }
        let value = value.parse().map_err(|_| bad("has a value that is none"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
