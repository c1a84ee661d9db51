//! What all routes share of HTTP: how a body, a query and an id are read, and how a refusal looks.

pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod connections;
pub(crate) mod cors;
pub(crate) mod duration;
pub(crate) mod observe;
pub(crate) mod params;
pub(crate) mod problem;
pub(crate) mod server;
pub(crate) mod stall;
mod strict;
pub(crate) mod tls;
pub(crate) mod trace;

pub(crate) use body::{JsonBody, MaybeJson};
pub(crate) use params::{Params, path_id};
pub(crate) use problem::ApiError;
