//! How much a bundle, an input and an evaluation may cost.
//!
//! Bundles come from tenants and inputs from models, so both are bounded before the evaluator sees
//! them. The wall limit alone would not do: it is looked at every [`CHECK_EVERY`] steps only, so
//! that a small policy never pays for the clock and is never refused because its process was
//! paused; the step limit ends a loop deterministically.

use std::time::Duration;

/// Modules in one bundle.
pub(crate) const MAX_MODULES: usize = 128;
/// Bytes of one module's path.
pub(crate) const MAX_PATH_BYTES: usize = 256;
/// Bytes of all module texts together.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the data documents as canonical JSON.
pub(crate) const MAX_DATA_BYTES: usize = 16 * 1024 * 1024;
/// Nesting of the data documents.
pub(crate) const MAX_DATA_DEPTH: usize = 64;
/// Different rules in one bundle: what the interpreter's stack has room for, all in one chain.
pub(crate) const MAX_RULES: usize = 2000;
/// Compiled rules that may call one another in a row.
pub(crate) const MAX_CALL_DEPTH: usize = 64;
/// Steps between two looks at the clock.
pub(crate) const CHECK_EVERY: u32 = 256;
/// Time for one `test_` rule.
pub(crate) const TEST_LIMIT: Duration = Duration::from_secs(1);
/// Reasons, rules or redactions in one decision.
pub(crate) const MAX_ITEMS: usize = 64;
/// Characters of one reason or rule name; longer ones are cut.
pub(crate) const MAX_ITEM_CHARS: usize = 512;

/// Limits of one evaluation. The defaults are generous for a policy and small for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the compiled program.
    pub steps: usize,
    /// Wall time.
    pub wall: Duration,
    /// Bytes of the input: texts, keys, and 8 for any other value.
    pub input_bytes: usize,
    /// Nesting of the input.
    pub input_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            wall: Duration::from_millis(50),
            input_bytes: 512 * 1024,
            input_depth: 64,
        }
    }
}
