//! Tests of the engine as its callers use it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics fails"
)]

mod builtin;
mod bundle;
mod conformance;
mod decisions;
mod dialects;
mod example;
mod fail_closed;
mod tables;

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Bundle, BundleError, Decision, Effect, Form, Limits, Module};

/// A module of the given path.
fn module(path: &str, text: &str) -> Module {
    Module {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// A bundle of one module without data.
fn bundle(text: &str) -> Bundle {
    match Bundle::compile(&[module("policy.rego", text)], Json::Null) {
        Ok(bundle) => patient(bundle),
        Err(error) => panic!("{error}"),
    }
}

/// With all the time that a busy machine needs, where time is not what is tested.
fn patient(bundle: Bundle) -> Bundle {
    bundle.with_limits(Limits {
        wall: Duration::from_secs(60),
        ..Limits::default()
    })
}

/// A v1 module of the usual package with this body.
fn policy(body: &str) -> Bundle {
    bundle(&format!("package nexus.agent.policy\n{body}\n"))
}

/// The fault of a bundle of one module.
fn fault(text: &str) -> BundleError {
    Bundle::compile(&[module("policy.rego", text)], Json::Null).unwrap_err()
}

/// Decides on an input that does not matter.
fn ask(bundle: &Bundle) -> Decision {
    bundle.evaluate_json(&json!({"point": "tool.call", "user": {"id": "ann"}}))
}

/// Whether the decision is a denial that is not a failure.
fn denies(decision: &Decision) -> bool {
    decision.effect == Effect::Deny && decision.error.is_none()
}
