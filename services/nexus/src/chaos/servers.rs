//! The private servers of a run: nats-server, one or three, each with its data on a small volume of its
//! own where that can be had, and Postgres.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nexus_devstack::{
    Cache, ClusterPart, NatsOptions, NatsServer, Network, Postgres, PostgresOptions, Progress,
};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::error::ChaosError;

/// What the streams want to be sure of. Memory is taken only for what is written.
const ROOM: &str = "1g";
const FILL_ATTEMPTS: usize = 20;

/// Everything that roles connect to but the model.
pub(crate) struct Servers {
    /// The servers of the bus.
    pub(crate) nats: Vec<Node>,
    /// What lies between several of them, where it can be cut.
    pub(crate) network: Option<Mutex<Network>>,
    /// The read models.
    pub(crate) postgres: Mutex<Postgres>,
    /// The database on it.
    pub(crate) database_url: String,
}

/// One nats-server.
pub(crate) struct Node {
    /// It; whoever breaks it holds it.
    pub(crate) server: Mutex<NatsServer>,
    /// Where clients connect.
    pub(crate) url: String,
    /// The same as an address.
    pub(crate) address: SocketAddr,
    /// Its data's volume, where it has one of its own.
    pub(crate) volume: Option<Volume>,
}

impl Servers {
    /// Starts them within a directory.
    ///
    /// # Errors
    /// [`ChaosError`]: one does not start.
    pub(crate) async fn start(dir: &Path, nodes: usize) -> Result<Self, ChaosError> {
        let cache = Cache::discover()?;
        let progress = Progress::new(|line: &str| tracing::info!("{line}"));
        let postgres = PostgresOptions::disposable(dir.join("postgres"));
        let postgres = Postgres::start(&cache, &progress, postgres);
        let network = match nodes > 1 && Network::is_possible() {
            true => Some(Network::create(u8::try_from(nodes).unwrap_or(u8::MAX))?),
            false => None,
        };
        let places = places(nodes, network.as_ref())?;
        let nats = start_nats(&cache, &progress, dir, &places);
        let (nats, postgres) = tokio::join!(nats, postgres);
        let (nats, postgres) = (nats?, postgres?);
        let database_url = postgres.create_database("chaos").await?;
        Ok(Self {
            nats,
            network: network.map(Mutex::new),
            postgres: Mutex::new(postgres),
            database_url,
        })
    }

    /// The addresses of all servers of the bus.
    pub(crate) fn nats_url(&self) -> String {
        let urls: Vec<&str> = self.nats.iter().map(|node| node.url.as_str()).collect();
        urls.join(",")
    }

    /// Stops them, and gives volumes back; with `keep`, what was on them stays in the directory.
    pub(crate) async fn stop(self, keep: bool) {
        for node in self.nats {
            node.server.lock().await.stop().await;
            if let Some(volume) = node.volume.filter(|_| keep) {
                volume.keep().await;
            }
        }
        self.postgres.lock().await.stop().await;
    }
}

/// Where a server listens: for clients, on whatever port is free, and for the others.
struct Place {
    host: IpAddr,
    route: SocketAddr,
    namespace: Option<String>,
}

fn places(nodes: usize, network: Option<&Network>) -> Result<Vec<Place>, ChaosError> {
    let ports = free_ports(nodes)?.into_iter();
    let places = (0..=u8::MAX).zip(ports).map(|(node, port)| {
        let host = network.map_or(Ipv4Addr::LOCALHOST, |network| network.address(node));
        Place {
            host: IpAddr::V4(host),
            route: SocketAddr::from((host, port)),
            namespace: network.map(|network| network.namespace(node)),
        }
    });
    Ok(places.collect())
}

async fn start_nats(
    cache: &Cache,
    progress: &Progress,
    dir: &Path,
    places: &[Place],
) -> Result<Vec<Node>, ChaosError> {
    let mut started = vec![];
    let starting = places.iter().enumerate().map(|(number, place)| async move {
        let data = dir.join(format!("nats-{number}"));
        let volume = Volume::mount(&data).await;
        let mut options = NatsOptions::new(&data);
        options.name = format!("chaos-{number}");
        options.listen_host = place.host.to_string();
        options.namespace = place.namespace.clone();
        options.cluster = (places.len() > 1).then(|| ClusterPart {
            listen: place.route,
            routes: places.iter().map(|place| place.route).collect(),
        });
        let server = NatsServer::start(cache, progress, options).await?;
        Ok::<Node, ChaosError>(Node {
            url: server.url(),
            address: SocketAddr::new(place.host, server.port()),
            server: Mutex::new(server),
            volume,
        })
    });
    // A node of a cluster is ready only when it has met the others.
    for node in futures_util::future::join_all(starting).await {
        started.push(node?);
    }
    Ok(started)
}

/// Ports of the loopback that are free now, all different.
///
/// # Errors
/// There are none.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, ChaosError> {
    let listen = |_| std::net::TcpListener::bind(("127.0.0.1", 0));
    let held: Result<Vec<_>, _> = (0..count).map(listen).collect();
    let held = held.map_err(ChaosError::io("a free port"))?;
    let ports = held.iter().map(|held| Ok(held.local_addr()?.port()));
    let ports: std::io::Result<Vec<u16>> = ports.collect();
    ports.map_err(ChaosError::io("a free port"))
}

/// A file system in memory, whose size can be taken away.
#[derive(Debug)]
pub(crate) struct Volume(PathBuf);

impl Volume {
    /// Mounted on a directory that is made for it; nothing where this user may not mount.
    async fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={ROOM},mode=0700"),
                "tmpfs",
            ])
            .arg(at);
        succeeded(mount).await.then(|| Self(at.to_owned()))
    }

    /// Leaves no room on it. Says whether that was possible: whoever writes meanwhile may be quicker.
    pub(crate) async fn fill(&self) -> bool {
        for _ in 0..FILL_ATTEMPTS {
            let Ok(about) = rustix::fs::statvfs(&self.0) else {
                return false;
            };
            let used = about.f_blocks.saturating_sub(about.f_bfree) + 1;
            if self.resize(&(used * about.f_frsize).to_string()).await {
                return true;
            }
        }
        false
    }

    /// There is room again.
    pub(crate) async fn clear(&self) {
        self.resize(ROOM).await;
    }

    async fn resize(&self, to: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,size={to}")])
            .arg(&self.0);
        succeeded(mount).await
    }

    /// Copies what is on it beside it.
    async fn keep(&self) {
        let mut aside = self.0.clone().into_os_string();
        aside.push(".kept");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(&self.0).arg(&aside);
        succeeded(copy).await;
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A server that was killed may not be gone yet: the volume goes with its last file.
        let mut unmount = std::process::Command::new("umount");
        let done = unmount.arg("-l").arg(&self.0).status();
        if !done.is_ok_and(|status| status.success()) {
            tracing::warn!(path = %self.0.display(), "a volume in memory could not be given back");
        }
    }
}

async fn succeeded(mut command: Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().await.is_ok_and(|status| status.success())
}
