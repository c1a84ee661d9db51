//! Runs code that nobody trusts: WebAssembly components, WASI commands, JavaScript and Python.
//!
//! It knows nothing of runs, of permissions or of the bus: a caller loads a guest, gives a call its
//! input and its limits, and gets JSON or an error with a code. What a guest can reach is what is
//! linked here and nothing else: log lines, requests through the caller's [`HttpBroker`], a clock,
//! random numbers, and for components a directory of the caller's choice.
//!
//! Processes with namespaces and seccomp were the alternative. They take milliseconds and megabytes a
//! call, need rights that a container seldom has, and the interpreters would still be native code.

mod broker;
mod call;
mod command;
mod component;
mod config;
mod cpu;
mod engine;
mod error;
mod host;
mod inspect;
mod javascript;
mod limits;
mod load;
pub mod measure;
mod modules;
mod output;
mod python;
mod slice;
mod ticker;
mod workspace;

pub use broker::{BoxFuture, HttpBroker, HttpRequest, HttpResponse};
pub use call::{Call, Output, Sandbox};
pub use config::{ConfigError, SandboxConfig};
pub use error::{CallError, Fault, Traces};
pub use limits::CallLimits;
pub use load::{Guest, LoadError};
pub use modules::Module;
pub use workspace::{Quota, Workspace};
