//! The servers of `nexus up`: private ones, watched over.

use std::path::Path;
use std::time::Duration;

use nexus_bus::isolation::PlatformUser;
use nexus_devstack::{
    Cache, ClusterOptions, DataDir, NatsAuth, NatsCluster, NatsOptions, NatsServer, Postgres,
    PostgresOptions, Progress,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{UpArgs, kept_secret, tenants_dir};
use crate::failure::Failure;
use crate::isolation;

/// Private servers, watched over: one that dies is started again.
pub(super) struct Servers {
    pub(super) nats_url: String,
    pub(super) database_url: String,
    pub(super) pids: Vec<u32>,
    stop: CancellationToken,
    watchers: Vec<tokio::task::JoinHandle<()>>,
}

impl Servers {
    pub(super) async fn start(data: &DataDir, args: &UpArgs) -> Result<Self, Failure> {
        let cache = Cache::discover()?;
        let progress = Progress::new(|line: &str| info!("{line}"));
        let auth = NatsAuth {
            user: "nexus".to_owned(),
            password: kept_secret(data, "nats.password")?,
        };
        let postgres_options = match args.ephemeral {
            true => PostgresOptions::disposable(data.postgres()),
            false => PostgresOptions::new(data.postgres()),
        };
        let (nats, postgres) =
            tokio::try_join!(start_nats(&cache, &progress, data, args, auth), async {
                let started = Postgres::start(&cache, &progress, postgres_options).await;
                started.map_err(Failure::from)
            },)?;
        let database_url = postgres.create_database("nexus").await?;
        let urls: Vec<String> = nats.iter().map(NatsServer::url).collect();
        let nats_url = urls.join(",");
        let pids = nats.iter().map(NatsServer::pid);
        let pids = pids.chain([postgres.pid()]).collect();
        let stop = CancellationToken::new();
        let mut watchers = vec![tokio::spawn(watch_postgres(postgres, stop.clone()))];
        let nats = nats.into_iter();
        watchers.extend(nats.map(|it| tokio::spawn(watch_nats(it, stop.clone()))));
        Ok(Self {
            nats_url,
            database_url,
            pids,
            stop,
            watchers,
        })
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        for watcher in self.watchers {
            if let Err(error) = watcher.await {
                warn!(%error, "a server was not stopped in order");
            }
        }
    }
}

/// The one server, or the nodes of a cluster.
async fn start_nats(
    cache: &Cache,
    progress: &Progress,
    data: &DataDir,
    args: &UpArgs,
    auth: NatsAuth,
) -> Result<Vec<NatsServer>, Failure> {
    let dir = data.nats();
    same_number(&dir, args.nats_nodes)?;
    let alone = args.nats_nodes == 1;
    if alone {
        // A server that an earlier process left running is stopped before it is looked for.
        nexus_devstack::stop_nats(&dir).await?;
        isolation::place_streams(&dir, !args.tenants.is_empty())?;
    }
    // Which account streams are in is kept by the nodes together and cannot be changed in the files
    // of each: a cluster has the platform's account from the beginning.
    let accounts = match args.tenants.is_empty() && alone {
        true => None,
        false => {
            let platform = PlatformUser::Password {
                user: auth.user.clone(),
                password: auth.password.clone(),
            };
            let dir = tenants_dir(data);
            Some(isolation::write(&dir, &args.tenants, Some(platform))?)
        }
    };
    if alone {
        let mut options = NatsOptions::new(dir);
        options.auth = Some(auth);
        options.accounts = accounts;
        return Ok(vec![NatsServer::start(cache, progress, options).await?]);
    }
    let mut options = ClusterOptions::new(dir);
    options.nodes = args.nats_nodes;
    options.auth = Some(auth);
    options.accounts = accounts;
    let cluster = NatsCluster::start(cache, progress, &options).await?;
    Ok(cluster.into_nodes())
}

/// A log that one server has is not found by three, nor the other way round.
fn same_number(dir: &Path, nodes: u8) -> Result<(), Failure> {
    let other = match nodes {
        1 => dir.join("nats-0"),
        _ => dir.join("jetstream"),
    };
    match other.exists() {
        true => Err(Failure::OtherNodes {
            path: dir.to_owned(),
            nodes: if nodes == 1 { 3 } else { 1 },
        }),
        false => Ok(()),
    }
}

const RESTART_PAUSE: Duration = Duration::from_millis(500);

macro_rules! watch {
    ($(#[$doc:meta])* $name:ident, $server:ty, $what:literal) => {
        $(#[$doc])*
        async fn $name(mut server: $server, stop: CancellationToken) {
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    how = server.exited() => warn!(%how, concat!($what, " ended and is started again")),
                }
                while let Err(error) = server.restart().await {
                    warn!(%error, concat!($what, " could not be started again; trying on"));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(RESTART_PAUSE) => {}
                    }
                }
            }
            server.stop().await;
        }
    };
}

watch!(watch_nats, NatsServer, "nats-server");
watch!(watch_postgres, Postgres, "Postgres");
