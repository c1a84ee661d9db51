//! What measurements of a platform have in common: it is there, it is stopped whatever becomes of the
//! measurement, and what was found is printed.

use serde::Serialize;

use super::error::BenchError;
use super::platform::Platform;
use crate::cli::Connection;
use crate::cli::print;
use crate::cli::style::Style;

/// Measures a private platform, or one that runs already; Ctrl-C ends it.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(super) async fn on_platform<R>(
    attach: bool,
    connection: &Connection,
    measure: impl AsyncFnOnce(&Platform) -> Result<R, BenchError>,
) -> Result<R, BenchError> {
    say("starting the platform");
    let platform = match attach {
        true => Platform::attach(connection).await?,
        false => Platform::start().await?,
    };
    measured(platform, measure).await
}

/// Measures a platform and stops it, if it is a private one; Ctrl-C ends it.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(super) async fn measured<R>(
    platform: Platform,
    measure: impl AsyncFnOnce(&Platform) -> Result<R, BenchError>,
) -> Result<R, BenchError> {
    let measured = tokio::select! {
        measured = measure(&platform) => measured,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Stopped),
    };
    platform.stop().await;
    measured
}

/// Prints what was found: as JSON, or as text.
///
/// # Errors
/// Standard output is closed.
pub(super) fn print<R: Serialize>(
    report: &R,
    json: bool,
    text: impl FnOnce(&R, Style) -> String,
) -> Result<(), BenchError> {
    let out = match json {
        true => serde_json::to_string_pretty(report).unwrap_or_default() + "\n",
        false => text(report, Style::stdout()),
    };
    Ok(print::write(&out)?)
}

/// Says what is being done, on standard error.
pub(super) fn say(what: &str) {
    print::hint(&format!("{what} …"));
}
