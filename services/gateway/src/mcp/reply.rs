//! What answers look like, in either revision.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use nexus_events::{Problem, RunId};
use serde_json::{Map, Value, json};

use super::revision::Revision;
use super::wire::{Answer, INTERNAL, INVALID_PARAMS, RpcError};

/// Whom an answer is for.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The request's.
    pub(super) id: Value,
    pub(super) revision: Revision,
}

impl Reply {
    /// The answer to the request.
    pub(super) fn answer(&self, outcome: Result<Value, RpcError>) -> Answer {
        let outcome = outcome.map(|result| match self.revision {
            Revision::Handshake => result,
            Revision::Stateless => complete(result),
        });
        Answer::of(self.id.clone(), outcome)
    }

    /// The same as a response.
    pub(super) fn response(&self, outcome: Result<Value, RpcError>) -> Response {
        let status = match (&outcome, self.revision) {
            (Err(error), Revision::Stateless) => error.status,
            (Err(error), Revision::Handshake) if error.status == 400 => 400,
            _ => 200,
        };
        self.answer(outcome).with_status(status)
    }

    /// A result that says why there is no run.
    pub(super) fn complaint(words: &str) -> Value {
        json!({ "content": [{ "type": "text", "text": words }], "isError": true })
    }

    /// A result that says what a call came to.
    pub(super) fn result(&self, run: RunId, came: Came) -> Value {
        let text = match (&came.value, came.text) {
            (_, Some(text)) => text,
            (Some(Value::String(text)), None) => text.clone(),
            (value, None) => value.as_ref().unwrap_or(&Value::Null).to_string(),
        };
        let mut result = json!({
            "content": [{ "type": "text", "text": text }],
            "isError": came.failed,
            "_meta": { "nexus/run": run },
        });
        // The older revision has room for objects alone.
        let structured = came.value.filter(|value| match self.revision {
            Revision::Handshake => value.is_object(),
            Revision::Stateless => !value.is_string() && !value.is_null(),
        });
        if let Some(value) = structured {
            result["structuredContent"] = value;
        }
        result
    }
}

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Came {
    /// A result of a tool.
    pub(super) value: Option<Value>,
    /// In words, where they are not the result's own.
    pub(super) text: Option<String>,
    pub(super) failed: bool,
}

impl Came {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            failed: true,
            ..Self::default()
        }
    }
}

/// Each result of the newer revision says what it is, and who gave it.
fn complete(result: Value) -> Value {
    let mut fields = match result {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    fields
        .entry("resultType")
        .or_insert_with(|| json!("complete"));
    let meta = fields.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), server());
    }
    Value::Object(fields)
}

/// Who answers.
pub(super) fn server() -> Value {
    json!({ "name": "nexus", "title": "Nexus", "version": env!("CARGO_PKG_VERSION") })
}

/// A refusal before there was a run. What says no to the caller is a result, which the model that
/// called is told; what says that the request is wrong, or that we are, is an error.
pub(super) fn refused(name: &str, problem: &Problem) -> Result<Value, RpcError> {
    match problem.status {
        403 | 409 | 429 => {
            let words = format!("{}: {}", problem.code, problem.detail);
            Ok(Reply::complaint(&words))
        }
        400 | 422 if problem.field.as_deref() == Some("tools") => {
            let name: String = name.chars().take(64).collect();
            Err(RpcError::params(format!("Unknown tool: {name}")))
        }
        400 | 404 | 413 | 422 => Err(of_problem(INVALID_PARAMS, problem)),
        _ => Err(of_problem(INTERNAL, problem)),
    }
}

/// A problem as an error.
pub(super) fn of_problem(code: i32, problem: &Problem) -> RpcError {
    let data = json!({ "status": problem.status, "code": problem.code, "field": problem.field });
    RpcError::new(code, problem.detail.clone()).with(data)
}

/// A message as an event of a stream.
pub(super) fn frame(message: &str) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

/// A message was taken, and there is nothing to say to it.
pub(super) fn taken() -> Response {
    let mut response = axum::http::StatusCode::ACCEPTED.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
