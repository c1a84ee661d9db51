//! The door for clients of Anthropic's API: an ordinary governed run behind each request, told in the
//! words of that protocol.
//!
//! It differs from [`crate::openai`] in its words alone: what follows a run, makes one answer of its
//! events and cancels it when its client leaves is used from there. A layer of types between both
//! protocols was the alternative; the run's own command and messages are that already.

pub(crate) mod answer;
pub(crate) mod blocks;
pub(crate) mod errors;
pub(crate) mod request;
pub(crate) mod voice;
