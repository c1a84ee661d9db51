//! What is asked for when tools of a server are imported.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `tool.import`: registers tools of an MCP server that configuration names. What has not changed
/// since it was imported stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportTools {
    /// The server, as configuration names it.
    pub server: String,
    /// Which of its tools, as it names them; all that configuration takes when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The version that they get; when absent the server's own, or a higher one where that is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
