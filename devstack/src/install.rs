//! Fetches everything at once, ahead of its use: for images, and for build machines that have a
//! network only at the beginning.

use crate::programs::{NatsProgram, PostgresPrograms, find_nats_server, find_postgres};
use crate::{Cache, LocalModel, Progress, Result};

/// What is ready to be started.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The nats-server that will be used.
    pub nats: NatsProgram,
    /// The PostgreSQL that will be used.
    pub postgres: PostgresPrograms,
    /// Whether the local model can start without fetching anything.
    pub model: bool,
}

/// Finds or fetches nats-server and PostgreSQL, and with `model` the local model (524 MB).
///
/// # Errors
/// The first part that can neither be found nor fetched, and what to do about it.
pub async fn install_all(cache: &Cache, progress: &Progress, model: bool) -> Result<Installed> {
    let nats = find_nats_server(cache, progress).await?;
    let postgres = find_postgres(cache, progress, None).await?;
    if model {
        LocalModel::install(cache, progress).await?;
    }
    Ok(Installed {
        nats,
        postgres,
        model: LocalModel::is_installed(cache),
    })
}
