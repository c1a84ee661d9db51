//! Request bodies: JSON, named as such, within the limit, read in time, and with no field that the
//! route does not know. The content type is insisted upon because it is also what keeps a foreign
//! web page from posting here: a browser asks first before it sends JSON across origins.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use nexus_events::Problem;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::ApiError;
use super::strict::Strict;
use crate::app::App;

/// What room for bodies is counted in, in bytes.
pub(crate) const UNIT: usize = 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (bytes, _room) = read(app, &parts.headers, body).await?;
        check_type(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (bytes, _room) = read(app, &parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        check_type(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let essence = given
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    let given: String = given.chars().take(64).collect();
    let found = if given.is_empty() {
        "there is none".to_owned()
    } else {
        format!("{given:?}")
    };
    let detail = format!("the body must be application/json, and its Content-Type says {found}");
    Err(Problem::new(415, "unsupported_media_type", detail)
        .at("Content-Type")
        .into())
}

/// Reads a body, in the room that all bodies share, and in time.
async fn read(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), ApiError> {
    let config = app.config();
    let limit = config.body_limit_bytes;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // Who does not say how long it is may send as much as is allowed.
    let most = announced.map_or(limit, |length| {
        limit.min(usize::try_from(length).unwrap_or(limit))
    });
    let units = u32::try_from(most.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let room = Arc::clone(app.bodies()).try_acquire_many_owned(units);
    let room = room.map_err(|_| {
        ApiError::unavailable("overloaded", "too many bodies are being read; ask again")
    })?;
    let most = Duration::from_millis(config.body_timeout_ms);
    match tokio::time::timeout(most, whole(announced, body, limit)).await {
        Ok(read) => read.map(|bytes| (bytes, room)),
        Err(_) => {
            let detail = format!("the body did not come within {} ms", most.as_millis());
            Err(ApiError::new(408, "body_timeout", detail))
        }
    }
}

async fn whole(announced: Option<u64>, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut fits = announced.is_none_or(|length| length <= limit as u64);
    while fits && let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::new(
                400,
                "body_incomplete",
                "the body ended before it was complete",
            )
        })?;
        fits = whole.len() + chunk.len() <= limit;
        whole.extend_from_slice(&chunk);
    }
    if fits {
        return Ok(whole.freeze());
    }
    discard(chunks, limit).await;
    Err(ApiError::new(
        413,
        "too_large",
        format!("the body may have {limit} bytes, and has more"),
    ))
}

/// Takes what is still on its way, within reason: a connection that is closed with something unread
/// is reset, and many a client then never sees the answer.
async fn discard(mut chunks: BodyDataStream, limit: usize) {
    let most = limit.saturating_mul(16);
    let taking = async {
        let mut taken = 0;
        while taken < most
            && let Some(Ok(chunk)) = chunks.next().await
        {
            taken += chunk.len();
        }
    };
    // Whoever takes longer than this does not wait for an answer.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, taking).await;
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde would take the fields of a struct from a list, too.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| matches!(first, b'[' | b'"' | b'0'..=b'9' | b'-')) {
        return Err(ApiError::new(
            400,
            "invalid",
            "the body must be a JSON object",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| refused(".", &error))?;
    Ok(value)
}

/// What serde says, sorted by code and with the path of the field.
fn refused(path: &str, error: &serde_json::Error) -> ApiError {
    let words = error.to_string();
    if !error.is_data() {
        return ApiError::new(
            400,
            "invalid_json",
            format!("the body is not JSON: {words}"),
        );
    }
    let (code, named) = match (
        quoted(&words, "unknown field `"),
        quoted(&words, "missing field `"),
    ) {
        (Some(field), _) => ("unknown_field", Some(field)),
        (_, Some(field)) => ("missing_field", Some(field)),
        _ => ("invalid", None),
    };
    let problem = Problem::new(400, code, words.clone());
    match field_path(path, named) {
        Some(field) => problem.at(field).into(),
        None => problem.into(),
    }
}

/// Joins the path of the value with the name that the words give, unless it ends with it already.
fn field_path(path: &str, named: Option<&str>) -> Option<String> {
    let path = if path == "." {
        ""
    } else {
        path.trim_end_matches(".?")
    };
    match named {
        None if path.is_empty() => None,
        None => Some(path.to_owned()),
        Some(name) if path.is_empty() => Some(name.to_owned()),
        Some(name) if path == name || path.ends_with(&format!(".{name}")) => Some(path.to_owned()),
        Some(name) => Some(format!("{path}.{name}")),
    }
}

fn quoted<'a>(words: &'a str, before: &str) -> Option<&'a str> {
    words
        .strip_prefix(before)?
        .split_once('`')
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use axum::response::IntoResponse;
    use nexus_events::command::StartRun;

    use super::*;

    async fn problem(body: &str) -> Problem {
        let error = parse::<StartRun>(body.as_bytes()).map(|_| ()).unwrap_err();
        let response = error.into_response();
        let bytes = axum::body::to_bytes(response.into_body(), 65_536)
            .await
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_by_code_and_field() {
        for (body, code, field) in [
            ("", "invalid_json", None),
            ("{", "invalid_json", None),
            (r#"{"input":"a"} x"#, "invalid_json", None),
            ("[1]", "invalid", None),
            ("{}", "missing_field", Some("input")),
            (r#"{"input":1}"#, "invalid", Some("input")),
            (
                r#"{"input":"a","inputt":1}"#,
                "unknown_field",
                Some("inputt"),
            ),
            (r#"{"input":"a","run_id":"x"}"#, "invalid", Some("run_id")),
            (
                r#"{"input":"a","tools":["a",1]}"#,
                "invalid",
                Some("tools[1]"),
            ),
            (
                r#"{"input":"a","budget":{"tokens":-1}}"#,
                "invalid",
                Some("budget.tokens"),
            ),
            (
                r#"{"input":"a","budget":{"token":1}}"#,
                "unknown_field",
                Some("budget.token"),
            ),
            (
                r#"{"input":"a","metadata":{"a":1}}"#,
                "invalid",
                Some("metadata.a"),
            ),
        ] {
            let problem = problem(body).await;
            let found = (
                problem.status,
                problem.code.as_str(),
                problem.field.as_deref(),
            );
            assert_eq!(found, (400, code, field), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn only_json_is_json() {
        let typed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            check_type(&headers).is_ok()
        };
        assert!(typed("application/json"));
        assert!(typed("Application/JSON; charset=utf-8"));
        assert!(typed("application/problem+json"));
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/json",
            "json",
        ] {
            assert!(!typed(bad), "{bad}");
        }
        assert!(check_type(&HeaderMap::new()).is_err());
    }
}
