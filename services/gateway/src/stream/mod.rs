//! A run's story: read from the log, followed live, or both without a seam.
//!
//! [`merge`] is the pure machine that puts the two together; [`pump`] feeds it from the bus and a
//! reader from it. A JetStream consumer a listener would do the same with less code here, but costs
//! the server ten thousand consumers for ten thousand idle listeners, where a plain subscription
//! costs it next to nothing.

pub(crate) mod bodies;
pub(crate) mod commit;
pub(crate) mod cursor;
pub(crate) mod encoding;
pub(crate) mod feed;
pub(crate) mod heard;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod merge;
pub(crate) mod pump;
pub(crate) mod record;
pub(crate) mod socket;
pub(crate) mod sse;
pub(crate) mod subscribed;
pub(crate) mod tail;
pub(crate) mod wide;

#[cfg(test)]
mod properties;
