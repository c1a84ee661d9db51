//! The tools whose code is the platform's own: what they are called with, and which is which. Each
//! asks the permissions of the call before it touches anything; the permissions are the tool's own,
//! already narrowed by what policy obliges.

pub mod files;
pub mod http;
mod json_query;
mod text_search;

use nexus_events::tool::{Denied, Permissions, ToolLimits};
use nexus_events::{RunId, Tenant};
use serde_json::Value;

use crate::ToolError;
use files::Workspace;
use http::Http;

/// What one call is executed with.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Whose run it is.
    pub tenant: Tenant,
    /// The run.
    pub run_id: RunId,
    /// The call in its run.
    pub call_id: String,
    /// The same whenever this call is executed again.
    pub idempotency_key: String,
    /// What it may touch, all things considered.
    pub permissions: Permissions,
    /// What it may take.
    pub limits: ToolLimits,
    /// The run's files.
    pub workspace: Workspace,
}

/// The built-in tools, ready to be called.
#[derive(Clone, Debug)]
pub struct Builtins {
    http: Http,
}

impl Builtins {
    /// With this way to the network.
    pub fn new(http: Http) -> Self {
        Self { http }
    }

    /// Executes a call; none when no built-in tool is called so.
    ///
    /// # Errors
    /// [`ToolError`] for the model: what it asked for is wrong, denied, or failed.
    pub async fn call(
        &self,
        name: &str,
        context: &CallContext,
        arguments: &Value,
    ) -> Option<Result<Value, ToolError>> {
        Some(match name {
            "calculator" => crate::calculator::call(arguments),
            "http_request" => self.http.call(context, arguments).await,
            "file_read" => files::read(context, arguments).await,
            "file_write" => files::write(context, arguments).await,
            "file_list" => files::list(context, arguments).await,
            "json_query" => json_query::call(context, arguments).await,
            "text_search" => text_search::call(context, arguments).await,
            _ => return None,
        })
    }
}

/// The arguments in the form that a tool expects.
pub(crate) fn read<'a, T: serde::Deserialize<'a>>(arguments: &'a Value) -> Result<T, ToolError> {
    // A list would be taken for the fields in their order.
    if !arguments.is_object() {
        return Err(ToolError::arguments("the arguments are not an object"));
    }
    T::deserialize(arguments).map_err(|error| ToolError::arguments(error.to_string()))
}

pub(crate) fn error(code: &'static str, message: impl Into<String>) -> ToolError {
    ToolError {
        code,
        message: message.into(),
    }
}

impl From<Denied> for ToolError {
    fn from(denied: Denied) -> Self {
        error("denied", denied.0)
    }
}

/// Work on files and texts, on a thread where waiting holds up nobody, and not for longer than the
/// call may take. Whoever works looks at the same deadline where it could be long.
pub(crate) async fn blocking<T: Send + 'static>(
    context: &CallContext,
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let done = tokio::task::spawn_blocking(work);
    match tokio::time::timeout(context.limits.timeout.duration(), done).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ToolError::failed("the tool broke off")),
        Err(_) => Err(error("timeout", "the tool took longer than it may")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use nexus_events::tool;

    use super::*;

    #[tokio::test]
    async fn every_tool_that_is_told_of_has_code_and_a_schema() {
        let place = tempfile::tempdir().unwrap();
        let workspaces = files::Workspaces::open(place.path(), files::Quota::default()).unwrap();
        let (tenant, run_id): (Tenant, _) = ("acme".parse().unwrap(), RunId::derive(&["a"]));
        let builtins = Builtins::new(Http::new(http::System));
        for tool in tool::all() {
            let schema = crate::validate::schema::Schema::compile(&tool.spec().parameters);
            assert!(schema.is_ok(), "{}: {schema:?}", tool.name);
            let context = CallContext {
                workspace: workspaces.of(&tenant, run_id),
                tenant: tenant.clone(),
                run_id,
                call_id: "a".to_owned(),
                idempotency_key: "key".to_owned(),
                permissions: tool.permissions(),
                limits: ToolLimits::default(),
            };
            let nothing = Value::Object(serde_json::Map::new());
            let answer = builtins.call(tool.name, &context, &nothing).await;
            let by_sandbox = tool.name == nexus_events::tool::CODE_EXECUTION;
            assert!(answer.is_some() != by_sandbox, "{}", tool.name);
        }
    }
}
