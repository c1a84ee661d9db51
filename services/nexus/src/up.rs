//! `nexus up`: the whole platform on this machine. Private servers, tables, every role; supervised,
//! and stopped in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_bus::isolation::PlatformUser;
use nexus_devstack::{
    Cache, DataDir, NatsAuth, NatsOptions, NatsServer, Postgres, PostgresOptions, Progress,
};
use nexus_events::Tenant;
use nexus_gateway::{GatewayConfig, GatewayError, Secret};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::endpoint::{self, Endpoints};
use crate::config::Config;
use crate::failure::Failure;
use crate::isolation;
use crate::roles::{Role, Running};
use crate::signals;

/// The key that secrets of webhooks derive from, in the data directory.
const WEBHOOKS_FILE: &str = "webhooks.key";

/// How `nexus up` is called.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Where data is kept: streams, tables, passwords. /var/lib/nexus for root, else
    /// ~/.local/share/nexus.
    #[arg(long, env = "NEXUS_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the HTTP gateway. 127.0.0.1:8080, or a free port where that is taken.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Keep nothing: data goes to a temporary directory that is removed at the end.
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// Tenants that may connect to NATS, each to its own subjects only, with the seed that is put
    /// into `tenants/` in the data directory. Nobody but the platform may when none is named.
    #[arg(
        long,
        env = "NEXUS_TENANTS",
        value_delimiter = ',',
        value_name = "TENANT,…"
    )]
    pub(crate) tenants: Vec<Tenant>,
    /// Write the addresses (JSON, readable by this user only) to this file once everything is ready.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Runs the platform until a signal.
///
/// # Errors
/// [`Failure`]: something that must be there is not, and cannot be got.
pub(crate) async fn up(args: UpArgs, mut config: Config) -> Result<(), Failure> {
    let mut signals = signals::Signals::install().map_err(Failure::Signals)?;
    let place = Place::choose(&args)?;
    let data = DataDir::lock(place.path())?;
    run(&args, &mut config, &data, &mut signals).await
}

async fn run(
    args: &UpArgs,
    config: &mut Config,
    data: &DataDir,
    signals: &mut signals::Signals,
) -> Result<(), Failure> {
    let servers = tokio::select! {
        started = Servers::start(data, args) => started?,
        signal = signals.next() => {
            info!(signal, "stopped before it was ready");
            return Ok(());
        }
    };
    config.nats.url = Some(servers.nats_url.clone());
    if !args.tenants.is_empty() {
        let key = tenants_dir(data).join(isolation::SEAL_FILE);
        config.nats.seal_file = Some(key);
        config.nats.require_seals = true;
    }
    let webhooks = &mut config.webhooks;
    if webhooks.secret.is_none() && webhooks.secret_file.is_none() {
        kept_secret(data, WEBHOOKS_FILE)?;
        webhooks.secret_file = Some(data.path().join(WEBHOOKS_FILE));
    }
    config.database.url = Some(servers.database_url.clone());
    config.tools.set_usual_dir(data.path());
    let fallback = choose_listen(args, config);
    let root_key = ask_for_keys(config, data)?;
    let started = tokio::select! {
        started = start_roles(config, fallback) => started,
        signal = signals.next() => {
            info!(signal, "stopped before it was ready");
            servers.stop().await;
            return Ok(());
        }
    };
    let mut running = match started {
        Ok(running) => running,
        Err(failure) => {
            servers.stop().await;
            return Err(failure);
        }
    };
    announce(
        args,
        &config.gateway,
        data.path(),
        &servers,
        &running,
        root_key,
    )?;
    let failure = tokio::select! {
        signal = signals.next() => {
            info!(signal, "stopping; press Ctrl-C again to stop at once");
            None
        }
        failure = running.ended() => Some(failure),
    };
    let orderly = async {
        running.stop().await;
        servers.stop().await;
    };
    tokio::select! {
        () = orderly => {}
        _ = signals.next() => warn!("stopped at once; what was under way goes on at the next start"),
    }
    remove(&data.path().join(endpoint::FILE));
    failure.map_or(Ok(()), Err)
}

async fn start_roles(config: &Config, fallback: bool) -> Result<Running, Failure> {
    match Running::start(&Role::ALL, config.clone()).await {
        Err(Failure::Gateway(error)) if fallback && is_address_in_use(&error) => {
            let mut config = config.clone();
            let taken = config.gateway.listen;
            config.gateway.listen.set_port(0);
            warn!(address = %taken, "the usual address is taken; a free port is used");
            Running::start(&Role::ALL, config).await
        }
        started => started,
    }
}

fn is_address_in_use(error: &GatewayError) -> bool {
    matches!(error, GatewayError::Listen { source, .. }
        if source.kind() == std::io::ErrorKind::AddrInUse)
}

/// Sets the address; says whether another one may be taken when it is in use.
fn choose_listen(args: &UpArgs, config: &mut Config) -> bool {
    match args.listen {
        Some(listen) => {
            config.gateway.listen = listen;
            false
        }
        None => config.gateway.listen == GatewayConfig::default().listen,
    }
}

fn announce(
    args: &UpArgs,
    gateway: &GatewayConfig,
    data: &Path,
    servers: &Servers,
    running: &Running,
    root_key: Option<String>,
) -> Result<(), Failure> {
    let scheme = match gateway.tls {
        Some(_) => "https",
        None => "http",
    };
    let url = running
        .listen()
        .map(|address| format!("{scheme}://{address}"))
        .unwrap_or_default();
    let endpoints = Endpoints {
        url: url.clone(),
        nats_url: servers.nats_url.clone(),
        database_url: servers.database_url.clone(),
        root_key,
        pid: std::process::id(),
        servers: servers.pids.clone(),
    };
    write_private(&data.join(endpoint::FILE), &endpoints)?;
    if let Some(path) = &args.ready_file {
        write_private(path, &endpoints)?;
    }
    println!(
        "Nexus is ready at {url} (data in {}; stop with Ctrl-C)",
        data.display()
    );
    println!(
        "{}",
        match gateway.is_open() {
            true => "Whoever can reach it may use it without a key.",
            false => "Callers show a key: `nexus keys create NAME` makes one.",
        }
    );
    Ok(())
}

/// Where other machines may call, callers show keys, and there is a root key to make the first with.
fn ask_for_keys(config: &mut Config, data: &DataDir) -> Result<Option<String>, Failure> {
    let gateway = &mut config.gateway;
    if gateway.is_open() || gateway.root_key.is_some() {
        return Ok(None);
    }
    let key = kept_secret(data, "root.key")?;
    gateway.root_key = Some(Secret::new(key.clone()));
    Ok(Some(key))
}

/// Writes the file beside and renames it into place, so that whoever waits for it reads it whole.
fn write_private(path: &Path, endpoints: &Endpoints) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| Failure::Write {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_string_pretty(endpoints).map_err(|error| failed(error.into()))?;
    let beside = path.with_extension("tmp");
    remove(&beside);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a file could not be removed");
        }
        _ => {}
    }
}

/// The directory that the data is in.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn choose(args: &UpArgs) -> Result<Self, Failure> {
        if args.ephemeral {
            let directory = tempfile::Builder::new().prefix("nexus-").tempdir();
            return directory
                .map(Self::Temporary)
                .map_err(|source| Failure::Write {
                    path: std::env::temp_dir(),
                    source,
                });
        }
        let path = args.data_dir.clone().or_else(DataDir::usual_path);
        path.map(Self::Kept).ok_or(Failure::NoDataDir)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

fn tenants_dir(data: &DataDir) -> PathBuf {
    data.path().join("tenants")
}

/// Private servers, watched over: one that dies is started again.
struct Servers {
    nats_url: String,
    database_url: String,
    pids: Vec<u32>,
    stop: CancellationToken,
    watchers: Vec<tokio::task::JoinHandle<()>>,
}

impl Servers {
    async fn start(data: &DataDir, args: &UpArgs) -> Result<Self, Failure> {
        let cache = Cache::discover()?;
        let progress = Progress::new(|line: &str| info!("{line}"));
        let auth = NatsAuth {
            user: "nexus".to_owned(),
            password: kept_secret(data, "nats.password")?,
        };
        // A server that an earlier process left running is stopped before it is looked for.
        nexus_devstack::stop_nats(&data.nats()).await?;
        isolation::place_streams(&data.nats(), !args.tenants.is_empty())?;
        let accounts = match args.tenants.is_empty() {
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
        let nats_options = NatsOptions {
            auth: Some(auth),
            accounts,
            ..NatsOptions::new(data.nats())
        };
        let postgres_options = match args.ephemeral {
            true => PostgresOptions::disposable(data.postgres()),
            false => PostgresOptions::new(data.postgres()),
        };
        let (nats, postgres) = tokio::try_join!(
            NatsServer::start(&cache, &progress, nats_options),
            Postgres::start(&cache, &progress, postgres_options),
        )?;
        let database_url = postgres.create_database("nexus").await?;
        let nats_url = nats.url();
        let pids = [nats.pid(), postgres.pid()].into_iter().collect();
        let stop = CancellationToken::new();
        let watchers = vec![
            tokio::spawn(watch_nats(nats, stop.clone())),
            tokio::spawn(watch_postgres(postgres, stop.clone())),
        ];
        Ok(Self {
            nats_url,
            database_url,
            pids,
            stop,
            watchers,
        })
    }

    async fn stop(self) {
        self.stop.cancel();
        for watcher in self.watchers {
            if let Err(error) = watcher.await {
                warn!(%error, "a server was not stopped in order");
            }
        }
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

/// A secret that is made once and kept in the data directory for this user alone.
fn kept_secret(data: &DataDir, file: &str) -> Result<String, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data.path().join(file);
    let failed = |source| Failure::Write {
        path: path.clone(),
        source,
    };
    match std::fs::read_to_string(&path) {
        Ok(password) if !password.trim().is_empty() => return Ok(password.trim().to_owned()),
        Ok(_) => remove(&path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let password = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    std::io::Write::write_all(&mut file, password.as_bytes()).map_err(failed)?;
    Ok(password)
}
