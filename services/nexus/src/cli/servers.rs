//! Connections to the servers themselves, for commands that must work when the gateway does not.

use std::time::Duration;

use nexus_bus::Bus;
use nexus_projections::{Projections, ProjectionsOptions};

use super::endpoint::{Connection, Servers, without_secret};
use super::error::{CliError, chain};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A person waits; a role would outlast a fail-over.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// The bus.
///
/// # Errors
/// [`CliError`]: nobody says where it is, or it does not answer.
pub(crate) async fn bus(servers: &Servers, connection: &Connection) -> Result<Bus, CliError> {
    let mut config = servers.bus(connection)?;
    config.retry_for = RETRY_FOR;
    let what = format!("NATS at {}", without_secret(&config.url));
    let bus = Bus::open(config)
        .await
        .map_err(CliError::server(what.clone()))?;
    match tokio::time::timeout(CONNECT_LIMIT, bus.connected()).await {
        Ok(()) => Ok(bus),
        Err(_) => {
            let reason = "no connection within 5 s: is it there, and are the credentials right?";
            Err(CliError::Server {
                what,
                reason: reason.to_owned(),
            })
        }
    }
}

/// The read models.
///
/// # Errors
/// As [`bus`].
pub(crate) async fn projections(
    servers: &Servers,
    connection: &Connection,
) -> Result<Projections, CliError> {
    let url = servers.database(connection)?;
    let what = format!("Postgres at {}", without_secret(&url));
    let options = ProjectionsOptions {
        max_connections: 2,
        acquire_timeout: CONNECT_LIMIT,
        ..ProjectionsOptions::default()
    };
    let connected = Projections::connect(&url, options).await;
    connected.map_err(|error| CliError::Server {
        what,
        reason: chain(&error),
    })
}
