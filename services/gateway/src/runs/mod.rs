//! One run as callers see it: from the read models, or from the log where they have not come to it.

pub(crate) mod fold;
pub(crate) mod view;
pub(crate) mod wait;
