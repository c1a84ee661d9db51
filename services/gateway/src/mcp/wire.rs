//! Messages of the protocol: JSON-RPC 2.0, as far as a server of tools takes and gives them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a message is that cannot be read.
pub(crate) const PARSE_ERROR: i32 = -32700;
/// What a message is that is no request.
pub(crate) const INVALID_REQUEST: i32 = -32600;
/// Nobody here knows the method.
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters are not what the method takes.
pub(crate) const INVALID_PARAMS: i32 = -32602;
/// It is our fault, or the bus is away.
pub(crate) const INTERNAL: i32 = -32603;
/// A header says something else than the body.
pub(crate) const HEADER_MISMATCH: i32 = -32020;
/// No such revision is spoken here.
pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;

/// A message of a client. Members that are not known are ignored, as JSON-RPC has it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Message {
    /// Always `2.0`.
    #[serde(default)]
    pub(crate) jsonrpc: String,
    /// Of a request: a string or a number. A message without is a notification.
    #[serde(default)]
    pub(crate) id: Option<Value>,
    /// What is asked for; absent in the answer to a request of ours.
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// With what.
    #[serde(default)]
    pub(crate) params: Option<Map<String, Value>>,
}

impl Message {
    /// A parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&Value> {
        self.params.as_ref()?.get(name)
    }

    /// A parameter beside those of the method.
    pub(crate) fn meta(&self, name: &str) -> Option<&Value> {
        self.param("_meta")?.get(name)
    }
}

/// The answer to a request: `result` or `error`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// Always `2.0`.
    jsonrpc: &'static str,
    /// That of the request; null where it could not be read.
    id: Value,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

impl Answer {
    pub(crate) fn of(id: Value, outcome: Result<Value, RpcError>) -> Self {
        let (result, error) = match outcome {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            jsonrpc: "2.0",
            id,
            result,
            error,
        }
    }

    /// As JSON.
    pub(crate) fn text(&self) -> String {
        // It is JSON already: it always encodes.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn with_status(self, status: u16) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

/// Why a request has no result.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct RpcError {
    /// What kind of error it is.
    pub(crate) code: i32,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// What programs can make use of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
    /// Of the response over HTTP, where the revision says that it is another than 200.
    #[serde(skip)]
    pub(crate) status: u16,
}

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            status: 200,
        }
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }
}

/// A notification of ours.
pub(crate) fn notification(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}
