//! `file_read`, `file_write` and `file_list`: files of the run's own workspace.

mod folder;
mod sweep;
mod workspace;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus_events::tool::{Denied, PathRules, WorkspacePath};
use serde::Deserialize;
use serde_json::{Value, json};

pub use sweep::run_sweeper;
pub use workspace::{Quota, Workspace, WorkspaceError, Workspaces};

use super::{CallContext, blocking, error, read as read_arguments};
use crate::ToolError;

/// Entries that one listing gives.
const MAX_LISTED: usize = 1000;

pub(crate) fn rules(context: &CallContext) -> Result<PathRules, ToolError> {
    Ok(context.permissions.path_rules().map_err(Denied::from)?)
}

pub(crate) fn path(text: &str) -> Result<WorkspacePath, ToolError> {
    WorkspacePath::parse(text).map_err(|what| {
        let shown: String = text.chars().take(80).collect();
        error("denied", format!("{shown:?} {what}"))
    })
}

impl From<WorkspaceError> for ToolError {
    fn from(cause: WorkspaceError) -> Self {
        error(cause.code(), cause.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    path: String,
}

/// `file_read`: `{"path"}` gives `text`, or `base64` where it is none.
pub(crate) async fn read(context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
    let ReadArguments { path: text } = read_arguments(arguments)?;
    let path = path(&text)?;
    rules(context)?.read(&path)?;
    let workspace = context.workspace.clone();
    let most = context.permissions.file_size().get();
    blocking(context, move || {
        let bytes = workspace.read(&path, most)?;
        let size = bytes.len();
        let path = path.to_string();
        Ok(match String::from_utf8(bytes) {
            Ok(text) => json!({ "path": path, "size": size, "text": text }),
            Err(binary) => {
                json!({ "path": path, "size": size, "base64": STANDARD.encode(binary.as_bytes()) })
            }
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteArguments {
    path: String,
    text: Option<String>,
    base64: Option<String>,
}

/// `file_write`: `{"path", "text" | "base64"}` replaces the file as a whole.
pub(crate) async fn write(context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
    let given: WriteArguments = read_arguments(arguments)?;
    let path = path(&given.path)?;
    rules(context)?.write(&path)?;
    let bytes = match (given.text, given.base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map_err(|cause| ToolError::arguments(format!("base64: {cause}")))?,
        _ => return Err(ToolError::arguments("give text or base64, one of them")),
    };
    let most = context.permissions.file_size().get();
    if bytes.len() as u64 > most {
        return Err(error("too_large", format!("a file may have {most} bytes")));
    }
    let workspace = context.workspace.clone();
    blocking(context, move || {
        workspace.write(&path, &bytes)?;
        Ok(json!({ "path": path.to_string(), "size": bytes.len() }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    #[serde(default = "root")]
    path: String,
    #[serde(default)]
    recursive: bool,
}

fn root() -> String {
    ".".to_owned()
}

/// `file_list`: what of a folder may be read, in order of their names.
pub(crate) async fn list(context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
    let ListArguments {
        path: text,
        recursive,
    } = read_arguments(arguments)?;
    let folder = path(&text)?;
    let rules = rules(context)?;
    rules.list(&folder)?;
    let workspace = context.workspace.clone();
    blocking(context, move || {
        let (entries, truncated) =
            workspace.list(&folder, recursive, MAX_LISTED, &|path, is_folder| {
                let asked = if is_folder {
                    rules.list(path)
                } else {
                    rules.read(path)
                };
                asked.is_ok()
            })?;
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| match entry.size {
                Some(size) => {
                    json!({ "path": entry.path.to_string(), "kind": "file", "size": size })
                }
                None => json!({ "path": entry.path.to_string(), "kind": "folder" }),
            })
            .collect();
        Ok(json!({ "entries": entries, "truncated": truncated }))
    })
    .await
}
