//! Refusals in OpenAI's shape. Handlers refuse with problems like everybody else; what goes out on
//! these routes is put into the other shape at the very end, so that a refusal of a layer around
//! them (who calls, how long, from where) has it, too.

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_events::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use super::collect::End;
use crate::http::ApiError;

/// Whether OpenAI's clients may send a request again by themselves.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error as OpenAI's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OpenAiError {
    /// What is wrong.
    pub(crate) error: ErrorBody,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// In words.
    message: String,
    /// Its kind.
    r#type: &'static str,
    /// The field of the request.
    param: Option<String>,
    /// Stable code.
    code: String,
}

impl OpenAiError {
    pub(crate) fn of(problem: &Problem) -> Self {
        let code = match problem.code.as_str() {
            "credentials_invalid" => "invalid_api_key",
            "budget_exhausted" | "time_exhausted" => "insufficient_quota",
            other => other,
        };
        let r#type = match problem.status {
            429 if code == "insufficient_quota" => "insufficient_quota",
            429 => "rate_limit_error",
            403 => "permission_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        Self {
            error: ErrorBody {
                message: problem.detail.clone(),
                r#type,
                param: problem.field.as_deref().map(param),
                code: code.to_owned(),
            },
        }
    }
}

impl ErrorBody {
    /// The code and the words.
    pub(crate) fn told(self) -> (String, String) {
        (self.code, self.message)
    }
}

/// A field of a run's command as the request has it.
fn param(field: &str) -> String {
    let named = match field {
        "input" | "context" => "messages",
        "client_tools" => "tools",
        "tools" => "metadata.nexus_tools",
        "embed.texts" => "input",
        "embed.dimensions" => "dimensions",
        "sampling.max_output_tokens" => "max_completion_tokens",
        "sampling.response_schema" => "response_format",
        other => other.strip_prefix("sampling.").unwrap_or(other),
    };
    named.to_owned()
}

/// The same field in a request for a response.
fn param_of_response(field: &str) -> String {
    match field {
        "input" | "context" | "messages" => "input".to_owned(),
        "sampling.max_output_tokens" => "max_output_tokens".to_owned(),
        "sampling.response_schema" => "text.format".to_owned(),
        other => param(other),
    }
}

/// Puts a refusal into OpenAI's shape; other answers pass. `of_responses`: the request was for one.
pub(crate) fn reshape(mut response: Response, of_responses: bool) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    let mut body = OpenAiError::of(&problem);
    if of_responses {
        body.error.param = problem.field.as_deref().map(param_of_response);
    }
    // An error is strings: it always encodes.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    // What a run could not take is what this request should not have had.
    if parts.status == StatusCode::UNPROCESSABLE_ENTITY {
        parts.status = StatusCode::BAD_REQUEST;
    }
    parts.headers.remove(CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json);
    (parts, body).into_response()
}

/// Why a run that ended gives no answer.
pub(crate) fn of_end(end: &End) -> Problem {
    let (code, message) = match end {
        End::Failed { code, message } => (code.as_str(), message.as_str()),
        End::Cancelled => (
            "run_cancelled",
            "the run was stopped before it had an answer",
        ),
        End::Completed => ("internal", "the run ended without an answer"),
    };
    let status = match code {
        "policy_denied" | "approval_denied" | "approval_expired" => 403,
        "budget_exhausted" | "time_exhausted" => 429,
        "run_cancelled" => 409,
        "context_length_exceeded"
        | "invalid_request_error"
        | "vectors_too_large"
        | "http_400"
        | "http_413"
        | "http_422" => 400,
        code if code.starts_with("provider_") || code.ends_with("_unavailable") => 503,
        _ => 500,
    };
    Problem::new(status, code, message)
}

/// The same as an answer. Sent again it would be another run, which spends anew: clients are told
/// not to do so by themselves.
pub(crate) fn refuse(problem: Problem) -> Response {
    let mut response = ApiError::from(problem).into_response();
    let no = HeaderValue::from_static("false");
    response.headers_mut().insert(SHOULD_RETRY, no);
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    async fn reshaped(problem: Problem) -> (u16, serde_json::Value) {
        let response = reshape(ApiError::from(problem).into_response(), false);
        let status = response.status().as_u16();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 65_536).await;
        (status, serde_json::from_slice(&body.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn problems_become_errors_that_clients_know() {
        for (problem, status, kind, param, code) in [
            (
                Problem::new(422, "invalid", "x").at("sampling.temperature"),
                400,
                "invalid_request_error",
                Some("temperature"),
                "invalid",
            ),
            (
                Problem::new(401, "credentials_invalid", "x"),
                401,
                "invalid_request_error",
                None,
                "invalid_api_key",
            ),
            (
                of_end(&End::Failed {
                    code: "budget_exhausted".into(),
                    message: "x".into(),
                }),
                429,
                "insufficient_quota",
                None,
                "insufficient_quota",
            ),
            (
                of_end(&End::Failed {
                    code: "policy_denied".into(),
                    message: "x".into(),
                }),
                403,
                "permission_error",
                None,
                "policy_denied",
            ),
            (
                of_end(&End::Cancelled),
                409,
                "invalid_request_error",
                None,
                "run_cancelled",
            ),
        ] {
            let (found, body) = reshaped(problem).await;
            let error = &body["error"];
            assert_eq!(found, status, "{body}");
            assert_eq!(error["type"], kind);
            assert_eq!(error["param"].as_str(), param);
            assert_eq!(error["code"], code);
            assert!(!error["message"].as_str().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn other_answers_pass() {
        let response = reshape((StatusCode::OK, "text").into_response(), false);
        let body = axum::body::to_bytes(response.into_body(), 99).await;
        assert_eq!(body.unwrap(), "text");
    }
}
