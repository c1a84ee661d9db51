//! Work on a thread with a stack of its own size.
//!
//! Both evaluators call rules on the native stack, some 50 KB a call in a debug build, so that a
//! policy's depth must not be its host thread's problem. The memory is reserved and only what is
//! touched is used; the thread costs some 30 µs, which ordinary policies never pay.

use std::any::Any;

/// For up to `MAX_CALL_DEPTH` calls of compiled rules.
pub(crate) const COMPILED_BYTES: usize = 16 * 1024 * 1024;
/// For a chain through every rule of a bundle, interpreted.
pub(crate) const INTERPRETED_BYTES: usize = 256 * 1024 * 1024;

/// Runs `work` and returns its result, or why there is none.
pub(crate) fn on_stack<T: Send>(
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("policy".to_owned())
            .stack_size(bytes)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread to evaluate on: {error}"))?
            .join()
            .map_err(panicked)
    })
}

/// The reason for a panic, without its words: they may repeat the input.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> String {
    "a built-in function panicked".to_owned()
}
