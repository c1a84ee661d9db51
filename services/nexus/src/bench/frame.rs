//! What measurements of a platform have in common: it is there, and it is stopped whatever becomes of
//! the measurement.

use super::error::BenchError;
use super::platform::Platform;
use crate::cli::Connection;
use crate::cli::print;

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

/// Says what is being done, on standard error.
pub(super) fn say(what: &str) {
    print::hint(&format!("{what} …"));
}
