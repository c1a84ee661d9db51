//! Tools that ship with the platform.

use serde_json::Value;

use super::{Call, Executor, Outcome};
use crate::{ToolError, calculator};

type Builtin = fn(&Value) -> Result<Value, ToolError>;

/// Every built-in tool and its code; [`nexus_events::tool`] has what is told of it.
const BUILTINS: &[(&str, Builtin)] = &[("calculator", calculator::call)];

/// All of them.
pub(super) struct Builtins;

impl Executor for Builtins {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        let name = &call.definition.name;
        match BUILTINS.iter().find(|(builtin, _)| builtin == name) {
            Some((_, code)) => code(call.arguments).into(),
            None => Err(ToolError::failed(
                "this version of the platform has no code for the tool",
            ))
            .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_events::tool;

    use super::*;

    #[test]
    fn every_tool_that_is_told_of_has_code_and_the_other_way_round() {
        for tool in tool::all() {
            assert!(
                BUILTINS.iter().any(|(name, _)| *name == tool.name),
                "{}",
                tool.name
            );
        }
        for (name, _) in BUILTINS {
            assert!(tool::get(name).is_some(), "{name}");
        }
    }
}
