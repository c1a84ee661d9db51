//! The platform that is broken: private servers, two processes of every role, a proxy on every
//! connection that a role makes, a model server and tools that are watched. What checks it goes past the
//! proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, BusConfig};
use nexus_modelserver::{ModelServer, Options, Reply, Rule, Script};
use nexus_projections::{Projections, ProjectionsOptions};

use super::error::ChaosError;
use super::load::{QUICK, SLOW};
use super::plan::{INSTANCES, Instance, Link};
use super::processes::{RoleProcess, Setting, port_of, tail};
use super::proxy::Proxy;
use super::servers::{Servers, free_ports};
use super::witness::Witness;
use crate::roles::Role;

const READY_LIMIT: Duration = Duration::from_secs(90);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pieces of the slow model's answers come so far apart.
const SLOW_PIECE_MS: u64 = 120;

/// All of it.
pub(crate) struct Platform {
    /// NATS and Postgres.
    pub(crate) servers: Servers,
    /// Every process of every role.
    pub(crate) roles: Vec<RoleProcess>,
    /// The model.
    pub(crate) model: ModelServer,
    /// The tools.
    pub(crate) witness: Witness,
    /// The checker's own connection to the bus.
    pub(crate) bus: Bus,
    /// The checker's own connection to the tables.
    pub(crate) projections: Projections,
    /// For requests to gateways.
    pub(crate) http: reqwest::Client,
}

impl Platform {
    /// Starts everything within a directory and waits until it is ready.
    ///
    /// # Errors
    /// [`ChaosError`]: something does not start.
    pub(crate) async fn start(dir: &Path, nodes: usize) -> Result<Self, ChaosError> {
        let servers = Servers::start(dir, nodes).await?;
        let model = ModelServer::start(scripted()).await;
        let model = model.map_err(|error| ChaosError::Setup(error.to_string()))?;
        let setting = Setting {
            dir: dir.to_owned(),
            tools_dir: dir.join("tools"),
            replicas: nodes,
            database_url: servers.database_url.clone(),
            log: std::env::var("NEXUS_LOG").unwrap_or_else(|_| "info".to_owned()),
        };
        let witness = Witness::serve(&servers.nats_url()).await?;
        let mut roles = vec![];
        for role in Role::ALL {
            for index in 0..INSTANCES {
                let instance = Instance { role, index };
                let links = links(instance, &servers, &model).await?;
                let port = free_ports(1)?.first().copied().unwrap_or_default();
                roles.push(RoleProcess::new(instance, port, links, setting.clone()));
            }
        }
        for role in &roles {
            role.start().await?;
        }
        let mut config = BusConfig::new(servers.nats_url(), "nexus-chaos");
        config.replicas = nodes;
        let bus = Bus::connect(config).await;
        let bus = bus.map_err(|error| ChaosError::Setup(error.to_string()))?;
        let projections = Projections::open(&servers.database_url, ProjectionsOptions::default());
        let projections = projections.map_err(|error| ChaosError::Setup(error.to_string()))?;
        let http = reqwest::Client::builder().timeout(REQUEST_LIMIT).build();
        let http = http.map_err(|error| ChaosError::Setup(error.to_string()))?;
        let platform = Self {
            servers,
            roles,
            model,
            witness,
            bus,
            projections,
            http,
        };
        platform.ready(dir).await?;
        Ok(platform)
    }

    /// Waits until every gateway says that it can work.
    ///
    /// # Errors
    /// [`ChaosError::Setup`]: one does not, with the end of its log.
    pub(crate) async fn ready(&self, dir: &Path) -> Result<(), ChaosError> {
        let began = Instant::now();
        for gateway in self.gateways() {
            let url = format!("http://127.0.0.1:{}/readyz", gateway.port);
            loop {
                let answer = self.http.get(&url).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                if began.elapsed() > READY_LIMIT {
                    let log = tail(dir, gateway.instance);
                    let what = format!("{} is not ready\n{log}", gateway.instance);
                    return Err(ChaosError::Setup(what));
                }
                gateway.watch().await?;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// The address of one of the gateways.
    pub(crate) fn url(&self, number: usize, path: &str) -> String {
        let gateway = self.gateways().nth(number % INSTANCES);
        let port = gateway.map_or(0, |gateway| gateway.port);
        format!("http://127.0.0.1:{port}{path}")
    }

    /// A process.
    pub(crate) fn role(&self, instance: Instance) -> Option<&RoleProcess> {
        self.roles.iter().find(|role| role.instance == instance)
    }

    /// Where the kept data would be found, in words; and everything ends.
    pub(crate) async fn stop(self, keep: bool) {
        for role in &self.roles {
            role.kill().await;
        }
        self.projections.close().await;
        self.servers.stop(keep).await;
        self.model.shutdown().await;
    }

    fn gateways(&self) -> impl Iterator<Item = &RoleProcess> {
        let is_gateway = |role: &&RoleProcess| role.instance.role == Role::Gateway;
        self.roles.iter().filter(is_gateway)
    }
}

async fn links(
    instance: Instance,
    servers: &Servers,
    model: &ModelServer,
) -> Result<BTreeMap<Link, Vec<Proxy>>, ChaosError> {
    let here = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut to: BTreeMap<Link, Vec<SocketAddr>> = BTreeMap::new();
    let nats = servers.nats.iter().map(|node| node.address);
    to.insert(Link::Nats, nats.collect());
    if matches!(instance.role, Role::Projector | Role::Gateway) {
        let port = port_of(&servers.database_url).unwrap_or_default();
        to.insert(Link::Postgres, vec![here(port)]);
    }
    if instance.role == Role::Llm {
        to.insert(Link::Model, vec![model.address()]);
    }
    let mut links = BTreeMap::new();
    for (link, addresses) in to {
        let mut proxies = vec![];
        for address in addresses {
            let proxy = Proxy::start(address).await;
            proxies.push(proxy.map_err(ChaosError::io("a proxy"))?);
        }
        links.insert(link, proxies);
    }
    Ok(links)
}

/// Two models, of which one takes its time; what they say is in what they are asked.
fn scripted() -> Options {
    let rule = |model: &str, chunk_delay_ms| Rule {
        model: Some(model.to_owned()),
        reply: Reply {
            chunk_delay_ms,
            ..Reply::default()
        },
        ..Rule::default()
    };
    Options {
        script: Script {
            rules: vec![rule(QUICK, 0), rule(SLOW, SLOW_PIECE_MS)],
            ..Script::default()
        },
        models: vec![QUICK.to_owned(), SLOW.to_owned()],
        ..Options::default()
    }
}

/// The directory of a run: others may pass through, as Postgres needs when this is root.
///
/// # Errors
/// [`ChaosError::Io`].
pub(crate) fn scratch() -> Result<tempfile::TempDir, ChaosError> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = tempfile::Builder::new().prefix("nexus-chaos-").tempdir();
    let dir = made.map_err(ChaosError::io("a temporary directory"))?;
    let mode = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(dir.path(), mode).map_err(ChaosError::io("a temporary directory"))?;
    Ok(dir)
}
