//! Tools that ship with the platform.

use nexus_events::tool::CODE_EXECUTION;

use super::guests::Guests;
use super::{Call, Outcome};
use crate::builtin::Builtins;
use crate::builtin::http::Http;

/// All of them.
pub(super) struct BuiltinTools {
    tools: Builtins,
}

impl BuiltinTools {
    pub(super) fn new(http: Http) -> Self {
        Self {
            tools: Builtins::new(http),
        }
    }

    /// Executes a call. Code is run by the sandbox.
    pub(super) async fn call(&self, call: &Call<'_>, guests: &Guests) -> Outcome {
        let name = call.definition.name.as_str();
        if name == CODE_EXECUTION {
            return guests.call_code(call).await;
        }
        match self.tools.call(name, call.context, call.arguments).await {
            // Whether the other side had it is not known.
            Some(Err(error)) if error.code == "timeout" && !call.idempotent => {
                Outcome::Unknown(error.message)
            }
            Some(result) => result.into(),
            None => Outcome::failed(
                "tool_failed",
                "this version of the platform has no code for the tool",
            ),
        }
    }
}
