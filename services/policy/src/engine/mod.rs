//! The policy engine: Rego bundles in, decisions out. No bus, no clock but its own stopwatch.
//!
//! Bundles are compiled to a program for regorus' virtual machine, which decides in microseconds;
//! its interpreter takes what the compiler cannot, and runs the tests that a bundle carries. An
//! OPA process beside us would have cost a network hop for each step of a run, and one more thing
//! that can be away when a decision is due.
//!
//! It fails closed: whatever goes wrong is a [`Decision`] that denies and names the
//! [`DecisionError`]. As in OPA, a built-in function that cannot do its work (`to_number("x")`)
//! is undefined, so its rule does not apply; a limit, a panic, a rule with several values at once
//! or an answer of the wrong shape is an error.

mod builtin;
mod bundle;
mod compile;
mod compiled;
mod decision;
mod digest;
mod dry;
mod entry;
mod error;
mod forbidden;
mod graph;
mod index;
mod input;
mod interpreted;
mod limits;
mod machine;
mod rules;
mod source;
mod stack;
mod testing;
mod value;
mod verdict;

#[cfg(test)]
mod tests;

pub use builtin::{EXAMPLE, builtin};
pub use bundle::{Bundle, Form};
pub use decision::{ApprovalRequirement, Decision, Effect, Obligations};
pub use dry::dry_decision;
pub use entry::DEFAULT_PACKAGE;
pub use error::{BundleError, BundleErrorKind, DecisionError};
pub use input::{Agent, Approval, Budget, Input, Point, Run, Session, Tool, User};
pub use limits::Limits;
pub use source::{Dialect, Module};
pub use testing::TestOutcome;
