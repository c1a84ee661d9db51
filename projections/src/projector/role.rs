//! The projector as a role of a process: the tables are brought up to date, then the log is applied.

use std::sync::LazyLock;
use std::time::Duration;

use nexus_bus::Bus;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Projector, ProjectorOptions, is_permanent};
use crate::connect::ProjectionError;
use crate::{Projections, ProjectorMetrics};

const RETRY: Duration = Duration::from_secs(1);

static METRICS: LazyLock<ProjectorMetrics> =
    LazyLock::new(|| nexus_bus::metrics::register(ProjectorMetrics::register));

/// Applies the log to the tables until it is told to stop. A bus or a database that is away is
/// waited for.
///
/// # Errors
/// [`ProjectionError`]: the tables cannot be brought up to date, and never will be by themselves.
pub async fn run_projector(
    projections: Projections,
    bus: Bus,
    stop: CancellationToken,
) -> Result<(), ProjectionError> {
    while let Err(error) = projections.migrate().await {
        match &error {
            ProjectionError::Database(reason) if !is_permanent(reason) => {
                warn!(error = %reason, "the read models are away, waiting for them");
            }
            _ => return Err(error),
        }
        if tokio::time::timeout(RETRY, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
    let (js, options) = (bus.jetstream().clone(), ProjectorOptions::default());
    Projector::new(&projections, js, options, METRICS.clone())
        .run(stop)
        .await;
    Ok(())
}
