//! The bundle that a new tenant starts with.

use std::sync::LazyLock;

use super::bundle::Bundle;
use super::error::BundleError;
use super::source::Module;

/// A policy as people write them, in the older dialect: what measurements ask.
pub const EXAMPLE: &str = include_str!("../../bundles/example.rego");

const PATH: &str = "default.rego";
const TEXT: &str = include_str!("../../bundles/default.rego");

static BUNDLE: LazyLock<Result<Bundle, BundleError>> = LazyLock::new(|| {
    let module = Module {
        path: PATH.to_owned(),
        text: TEXT.to_owned(),
    };
    Bundle::compile(&[module], serde_json::Value::Null)
});

/// The built-in bundle, compiled once.
///
/// # Errors
/// Never in a build whose tests passed; the type says so rather than a panic.
pub fn builtin() -> Result<&'static Bundle, &'static BundleError> {
    BUNDLE.as_ref()
}
