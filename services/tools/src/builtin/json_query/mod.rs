//! `json_query`: JSONPath (RFC 9535, without its functions) over a value or a file of the workspace.
//!
//! The evaluator counts its steps. The libraries do not, and a query of a kilobyte can make any of
//! them work for ever: `[0,0][0,0]…` doubles its nodes with every segment.

mod evaluate;
mod parse;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, blocking, files, read};
use crate::ToolError;
use crate::validate::shape;

const MAX_QUERY: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    query: String,
    json: Option<Value>,
    path: Option<String>,
}

/// `{"query", "json" | "path"}` gives what matches, in the document's order.
pub(crate) async fn call(context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
    let Arguments { query, json, path } = read(arguments)?;
    if query.len() > MAX_QUERY {
        return Err(ToolError::arguments(format!(
            "the query is longer than {MAX_QUERY} bytes"
        )));
    }
    let query = parse::query(&query)?;
    let file = match (&json, path) {
        (None, Some(path)) => {
            let path = files::path(&path)?;
            files::rules(context)?.read(&path)?;
            Some(path)
        }
        (Some(_), None) => None,
        _ => return Err(ToolError::arguments("give json or path, one of them")),
    };
    let workspace = context.workspace.clone();
    let most = context.permissions.file_size().get();
    blocking(context, move || {
        let document = match (json, file) {
            (Some(json), _) => json,
            (None, Some(path)) => shape::parse(&workspace.read(&path, most)?)
                .map_err(|fault| ToolError::arguments(format!("{path}: {fault}")))?,
            (None, None) => Value::Null,
        };
        let found = evaluate::evaluate(&query, &document)?;
        Ok(json!({ "matches": found }))
    })
    .await
}

#[cfg(test)]
mod tests;
