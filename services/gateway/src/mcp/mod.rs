//! The tenant's tools and agents for whoever speaks the Model Context Protocol: a call is a run like
//! every other, judged, reserved for, recorded and audited.
//!
//! Both revisions are served at one address ([`revision`]). The wire's few types are written here
//! ([`wire`]): `rmcp`, which has them all, would be compiled with every gateway, and keeps sessions in
//! the memory of one process, where any gateway should be able to answer any request.

mod arguments;
mod calling;
mod catalog;
mod headers;
mod question;
mod reply;
mod revision;
pub(crate) mod serve;
mod session;
mod tale;
#[cfg(test)]
mod tests;
pub(crate) mod wire;
