//! Responses, the newer API of OpenAI: an answer that has an id, can be asked for again, goes on
//! without its reader, and is gone on with.
//!
//! A response is a run. Its id is the run's, and all that is told of it is made of the run's log, so
//! that there is no table of responses which could say something else, and every gateway tells the
//! same. [`tale`] is that: pure, from events and fragments to numbered events of the protocol.

pub(crate) mod items;
pub(crate) mod object;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod tale;
pub(crate) mod teller;
