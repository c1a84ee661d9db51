//! Refusals: `application/problem+json` (RFC 9457) with a stable `code` on every route. Codes are
//! part of the public contract; those of decisions come from the core, the others are made here.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_bus::{PublishError, ReadError, StoreError};
use nexus_events::{Problem, Timestamp};
use nexus_projections::query::QueryError;

use crate::denials::Refusal;

/// Media type of a problem.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// A refused request.
#[derive(Debug)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Problem::new(status, code, detail).into()
    }

    /// 400: a field of the request does not hold what it must.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Problem::new(400, "invalid", detail).at(field).into()
    }

    pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("{what} {id} does not exist"))
    }

    /// 503: it may work in a moment.
    pub(crate) fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(503, code, detail)
        }
    }

    /// The bus did not answer within `waited`.
    pub(crate) fn bus_away(detail: impl Into<String>) -> Self {
        Self::unavailable("bus_unavailable", detail)
    }

    /// 429: says when the window begins anew that is used up, where it does; a queue that is full may
    /// not be so in a moment.
    pub(crate) fn until_reset(mut self, now: Timestamp) -> Self {
        if self.problem.code == "session_queue_full" {
            return self.retry_after(Duration::from_secs(1));
        }
        let shortage = self.problem.shortage.as_deref();
        let reset = shortage.and_then(|shortage| shortage.window.next(now));
        self.retry_after = self.retry_after.or_else(|| {
            let wait_ms = reset?.millis_since(now);
            Some(Duration::from_secs(wait_ms.div_ceil(1_000)))
        });
        self
    }

    /// Says when it may work.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.problem.status
    }

    pub(crate) fn into_problem(self) -> Problem {
        *self.problem
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        &self.problem.code
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            retry_after: None,
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::Lagging { applied, wanted } => {
                let lag = wanted.saturating_sub(*applied);
                let detail = format!(
                    "{error}: they are {lag} behind. Ask again, or leave min_seq out and take what \
                     is there"
                );
                Self::unavailable("read_models_lag", detail)
            }
            QueryError::Database(source) => {
                tracing::warn!(error = %source, "the read models cannot be read");
                let detail = "the read models cannot be read now. Runs go on; what they do can be \
                              read at /v1/runs/{id}/events meanwhile";
                Self::unavailable("database_unavailable", detail)
            }
            _ => {
                tracing::error!(%error, "a read model holds what cannot be read");
                Self::new(
                    500,
                    "internal",
                    "the read models hold what this version cannot read",
                )
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable { .. } => Self::bus_away("the event log cannot be read now"),
            refused @ ReadError::Refused { .. } => internal(&refused),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error.into(),
            StoreError::Behind { .. } => Self::bus_away("the event log is behind; ask again"),
            broken => internal(&broken),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::TooLarge { bytes, reason, .. } => {
                let detail = format!("the bus does not take a command of {bytes} bytes: {reason}");
                Self::new(413, "too_large", detail)
            }
            PublishError::Unavailable { .. } => Self::bus_away(
                "the bus did not take the command; it is safe to send it again with the same \
                 Idempotency-Key or id",
            ),
            other => internal(&other),
        }
    }
}

/// 500, with the reason in the log and not in the answer.
pub(crate) fn internal(error: &dyn std::error::Error) -> ApiError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(reason, "a request failed");
    ApiError::new(
        500,
        "internal",
        "something is wrong on our side; the log of the gateway says what",
    )
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem is strings and a number: it always encodes.
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.problem.status == 401 {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        // For routes whose errors have another shape.
        response.extensions_mut().insert(self.problem.clone());
        if matches!(self.problem.status, 401 | 403) {
            response.extensions_mut().insert(Refusal {
                code: self.problem.code,
                detail: self.problem.detail,
            });
        }
        response
    }
}
