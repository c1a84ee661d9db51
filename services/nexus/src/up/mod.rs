//! `nexus up`: the whole platform on this machine. Private servers, tables, every role; supervised,
//! and stopped in order.

mod servers;

use std::path::{Path, PathBuf};

use nexus_devstack::DataDir;
use nexus_events::Tenant;
use nexus_gateway::{GatewayConfig, GatewayError, Secret};
use tracing::{info, warn};

use crate::cli::endpoint::{self, Endpoints};
use crate::config::Config;
use crate::failure::Failure;
use crate::isolation;
use crate::roles::{Role, Running};
use crate::signals;
use servers::Servers;

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
    /// How many NATS servers keep the log: 1, or 3 of which any one may be lost. It stays as it is
    /// for the life of the data directory.
    #[arg(
        long,
        env = "NEXUS_NATS_NODES",
        value_name = "1|3",
        default_value = "1",
        value_parser = nodes
    )]
    pub(crate) nats_nodes: u8,
    /// Write the addresses (JSON, readable by this user only) to this file once everything is ready.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

fn nodes(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err(
            "1 or 3: two lose everything with one of them, and more gain nothing here".to_owned(),
        ),
    }
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
    config.nats.replicas = Some(usize::from(args.nats_nodes));
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
