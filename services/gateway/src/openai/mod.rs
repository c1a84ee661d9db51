//! The door for clients of OpenAI's API: an ordinary governed run behind each request, told in the
//! words of that protocol.
//!
//! The types of the protocol are our own and lenient: a client crate's types refuse what newer
//! clients send, and unknown fields are to be ignored here. What goes in is in [`request`] and
//! [`messages`], what comes out in [`answer`]; [`collect`] and [`chunks`] are pure and make the one
//! from a run's events, [`follow`] brings those. All but the words is shared with the other protocols:
//! [`open`] begins an answer, [`stream`] gives it, and a [`stream::Voice`] is what each has of its own.

pub(crate) mod abandon;
pub(crate) mod answer;
pub(crate) mod chunks;
pub(crate) mod collect;
pub(crate) mod embeddings;
pub(crate) mod errors;
pub(crate) mod follow;
pub(crate) mod messages;
pub(crate) mod open;
pub(crate) mod request;
pub(crate) mod sent;
pub(crate) mod stream;
pub(crate) mod voice;
