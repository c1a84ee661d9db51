//! A small model server that speaks the OpenAI chat-completions protocol and Anthropic's messages
//! over real sockets.
//!
//! Tests and the benchmark talk to it instead of to a vendor. A fake stands only outside the
//! process, speaking the real protocol: what the platform does with a cut stream, a lying usage
//! report or a 429 is then tried with the very client that talks to the vendor. A trait with a fake
//! behind it would be smaller, and would leave every one of those paths untried.
//!
//! What it answers is chosen, in this order, by the queue of the [`Script`], by its rules, by a model
//! name such as `fault:hang` (see [`fault`]), and otherwise by the default behaviour (see
//! [`behaviour`]). Scripts can be set from another process over `POST /_script`.

pub mod behaviour;
mod dialect;
mod embeddings;
pub mod fault;
mod instant;
mod messages;
mod plan;
mod route;
pub mod script;
mod send;
mod server;
pub mod stats;
mod wire;

pub use script::{Fault, Options, Reply, Rule, Script, ScriptedCall, UsageReport, WireTokens};
pub use server::{ModelServer, ServeError, serve};
pub use stats::{Counters, Recorded, Sent};
