//! Tools and agents, as clients of the Model Context Protocol ask for them.

use super::route::{Route, post};
use super::tongue;
use crate::mcp::serve::serve;
use crate::mcp::wire::{Answer, Message};

/// The one address of both revisions. There is nothing to `GET`, for the server has nothing to say
/// unasked, and no session to `DELETE`: both are 405, as the protocol has it.
pub(crate) fn route() -> Route {
    let summary = "One message of the Model Context Protocol, revisions 2026-07-28 and 2025-11-25";
    post(tongue::MCP, serve, "mcp", summary)
        .body::<Message>()
        .answer::<Answer>(200, "The answer to a request")
        .media(200, "text/event-stream")
        .empty(202, "Taken: a notification")
        .answer::<Answer>(400, "Not a message, or none that this revision allows")
        .answer::<Answer>(404, "No such method, or no such session")
        .answer::<Answer>(413, "Too large")
        .answer::<Answer>(415, "Not JSON")
        .problems(&[404, 413, 415, 503, 504])
}
