//! Refusals in Anthropic's shape; see [`crate::openai::errors`].

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_events::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::trace::Trace;

/// Names a request to whoever looks for it.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// What Anthropic's clients know as "overloaded".
const OVERLOADED: u16 = 529;

/// An error as Anthropic's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnthropicError {
    /// Always `error`.
    r#type: &'static str,
    /// What is wrong.
    error: ErrorBody,
    /// Names the request: `req_` and its trace.
    request_id: String,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// Its kind.
    r#type: &'static str,
    /// In words; it begins with the field of the request, or ends with the stable code.
    message: String,
}

impl AnthropicError {
    pub(crate) fn of(problem: &Problem, request_id: &str) -> Self {
        let r#type = match status(problem.status) {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            OVERLOADED => "overloaded_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        let (detail, code) = (&problem.detail, &problem.code);
        let message = match &problem.field {
            Some(field) => format!("{}: {detail}", named(field)),
            None => format!("{detail} ({code})"),
        };
        Self {
            r#type: "error",
            error: ErrorBody { r#type, message },
            request_id: request_id.to_owned(),
        }
    }
}

/// Names a request.
pub(crate) fn request_id(trace: &Trace) -> String {
    format!("req_{:032x}", u128::from_be_bytes(trace.0.trace_id))
}

/// What a run could not take is what this request should not have had; and who cannot serve now is
/// overloaded, whatever it is that is away.
fn status(status: u16) -> u16 {
    match status {
        422 => 400,
        503 => OVERLOADED,
        other => other,
    }
}

/// A field of a run's command as the request has it.
fn named(field: &str) -> &str {
    match field {
        "input" | "context" => "messages",
        "client_tools" => "tools",
        "tools" => "metadata.nexus_tools",
        "sampling.max_output_tokens" => "max_tokens",
        "sampling.stop" => "stop_sequences",
        "sampling.response_schema" => "output_config",
        other => other.strip_prefix("sampling.").unwrap_or(other),
    }
}

/// Puts a refusal into Anthropic's shape; other answers pass. All of them name their request.
pub(crate) fn reshape(mut response: Response, trace: &Trace) -> Response {
    let id = request_id(trace);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let Some(problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    // An error is strings: it always encodes.
    let body = serde_json::to_vec(&AnthropicError::of(&problem, &id)).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::from_u16(status(problem.status)).unwrap_or(parts.status);
    parts.headers.remove(CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json);
    (parts, body).into_response()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use axum::http::HeaderMap;
    use serde_json::Value;

    use super::*;
    use crate::http::ApiError;

    #[tokio::test]
    async fn problems_become_errors_that_clients_know() {
        for (status, becomes, kind) in [
            (422, 400, "invalid_request_error"),
            (401, 401, "authentication_error"),
            (403, 403, "permission_error"),
            (404, 404, "not_found_error"),
            (409, 409, "invalid_request_error"),
            (413, 413, "request_too_large"),
            (429, 429, "rate_limit_error"),
            (500, 500, "api_error"),
            (503, 529, "overloaded_error"),
            (504, 504, "timeout_error"),
        ] {
            let problem = Problem::new(status, "some_code", "words").at("sampling.stop");
            let trace = Trace::of(&HeaderMap::new());
            let response = reshape(ApiError::from(problem).into_response(), &trace);
            assert_eq!(response.status().as_u16(), becomes);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
            let body = axum::body::to_bytes(response.into_body(), 65_536).await;
            let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
            assert_eq!(body["error"]["type"], kind);
            assert_eq!(body["error"]["message"], "stop_sequences: words");
            assert_eq!(
                (&body["type"], &body["request_id"]),
                (&"error".into(), &id.into())
            );
        }
    }
}
