//! The built-in tools that reach out: to hosts, and to the files of the run's own workspace. What
//! they may touch by default is as little as lets them be of use: no host at all, and no file that
//! is not the run's.

use serde_json::{Value, json};

use super::builtin::BuiltinTool;
use super::path::WORKSPACE;
use super::{PathPermissions, Permissions};

/// The built-in tool whose arguments are code.
pub const CODE_EXECUTION: &str = "code_execution";

pub(super) const EXECUTE_CODE: BuiltinTool = BuiltinTool {
    name: CODE_EXECUTION,
    version: "1.0.0",
    description: "Runs JavaScript or Python in a sandbox without files, for calculations and for \
                  work on data. The result is what a function call(input) returns, or else the value \
                  of the last expression; what is printed is given too.",
    category: "code_execution",
    // It sees no files, and its requests only ask.
    idempotent: true,
    permissions: some_code,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "language": { "enum": ["javascript", "python"] },
                "code": { "type": "string", "description": "The source" },
                "input": { "description": "What the code sees as input" }
            },
            "required": ["language", "code"],
            "additionalProperties": false
        })
    },
};

fn some_code() -> Permissions {
    Permissions {
        languages: vec!["javascript".to_owned(), "python".to_owned()],
        ..Permissions::none()
    }
}

pub(super) const HTTP_REQUEST: BuiltinTool = BuiltinTool {
    name: "http_request",
    version: "1.0.0",
    description: "Sends one HTTP request and returns status, headers and body (text in body, \
                  anything else in body_base64). Only hosts that this tool was allowed are reached.",
    category: "http",
    // A POST is not; whether a server knows the key that goes with it is its own affair.
    idempotent: false,
    permissions: Permissions::none,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "url": { "type": "string", "description": "http or https, with host and path" },
                "method": {
                    "enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
                    "description": "GET if absent"
                },
                "headers": { "type": "object", "additionalProperties": { "type": "string" } },
                "body": { "type": "string", "description": "Text to send" },
                "json": { "description": "A value to send as JSON, instead of body" }
            },
            "required": ["url"],
            "additionalProperties": false
        })
    },
};

pub(super) const FILE_READ: BuiltinTool = BuiltinTool {
    name: "file_read",
    version: "1.0.0",
    description: "Reads a file of this run's workspace: text, or base64 if it is no text.",
    category: "file_system",
    idempotent: true,
    permissions: own_files_read,
    parameters: || {
        json!({
            "type": "object",
            "properties": { "path": path("The file, e.g. notes/plan.txt") },
            "required": ["path"],
            "additionalProperties": false
        })
    },
};

pub(super) const FILE_WRITE: BuiltinTool = BuiltinTool {
    name: "file_write",
    version: "1.0.0",
    description: "Writes a file of this run's workspace as a whole, in the place of what was there. \
                  Folders on the way are made.",
    category: "file_system",
    idempotent: true,
    permissions: own_files_write,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "path": path("The file, e.g. output/report.txt"),
                "text": { "type": "string", "description": "What it shall hold" },
                "base64": { "type": "string", "description": "Instead of text, for other bytes" }
            },
            "required": ["path"],
            "additionalProperties": false
        })
    },
};

pub(super) const FILE_LIST: BuiltinTool = BuiltinTool {
    name: "file_list",
    version: "1.0.0",
    description: "Lists files and folders of this run's workspace.",
    category: "file_system",
    idempotent: true,
    permissions: own_files_read,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "path": path("The folder; the whole workspace if absent"),
                "recursive": { "type": "boolean" }
            },
            "additionalProperties": false
        })
    },
};

pub(super) const JSON_QUERY: BuiltinTool = BuiltinTool {
    name: "json_query",
    version: "1.0.0",
    description: "Selects from a JSON value, or from a JSON file of this run's workspace, by \
                  JSONPath, e.g. $.items[?@.price < 10].name",
    category: "data_analysis",
    idempotent: true,
    permissions: own_files_read,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "JSONPath (RFC 9535, no functions)" },
                "json": { "description": "The value" },
                "path": path("A file, instead of json")
            },
            "required": ["query"],
            "additionalProperties": false
        })
    },
};

pub(super) const TEXT_SEARCH: BuiltinTool = BuiltinTool {
    name: "text_search",
    version: "1.0.0",
    description: "Finds the lines of a text, or of files of this run's workspace, that match a \
                  regular expression (no look-around, no back-references).",
    category: "text_processing",
    idempotent: true,
    permissions: own_files_read,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "pattern": { "type": "string" },
                "text": { "type": "string", "description": "The text" },
                "path": path("A file or folder, instead of text"),
                "ignore_case": { "type": "boolean" },
                "max_matches": { "type": "integer", "minimum": 1, "maximum": 1000 }
            },
            "required": ["pattern"],
            "additionalProperties": false
        })
    },
};

fn path(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn all_files() -> Vec<String> {
    vec![format!("{WORKSPACE}/*")]
}

fn own_files_read() -> Permissions {
    Permissions {
        paths: Some(PathPermissions {
            read: all_files(),
            ..PathPermissions::default()
        }),
        ..Permissions::default()
    }
}

fn own_files_write() -> Permissions {
    Permissions {
        paths: Some(PathPermissions {
            write: all_files(),
            ..PathPermissions::default()
        }),
        ..Permissions::default()
    }
}
