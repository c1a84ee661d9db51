//! Several nats-servers that are one: what a node loses, the others have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::{
    Cache, DevstackError, NatsAuth, NatsOptions, NatsServer, Network, Progress, Result,
    SyncInterval,
};

use super::config::ClusterPart;

const CLIENT_PORT: u16 = 4222;
const MONITOR_PORT: u16 = 8222;
const ROUTE_PORT: u16 = 6222;

/// How a private cluster is to run. Start from [`ClusterOptions::new`].
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where the nodes keep their data, a directory each.
    pub data_dir: PathBuf,
    /// How many there are: three or five, so that a majority is left when one is lost.
    pub nodes: u8,
    /// Whether each has a network of its own, so that the network between them can be cut. Wants
    /// root, see [`Network::is_possible`].
    pub network: bool,
    /// User and password that clients and nodes must give.
    pub auth: Option<NatsAuth>,
    /// The `accounts` of each server, see [`NatsOptions::accounts`].
    pub accounts: Option<String>,
    /// When a node forces what it has written to the disk.
    pub sync_interval: SyncInterval,
}

impl ClusterOptions {
    /// Three nodes on this machine's own network, forced to the disk every second.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let one = NatsOptions::new(data_dir);
        Self {
            data_dir: one.data_dir,
            nodes: 3,
            network: false,
            auth: None,
            accounts: None,
            sync_interval: one.sync_interval,
        }
    }
}

/// A cluster of nats-servers. Dropping it kills them all.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    // Last: what runs in a network goes first.
    network: Option<Network>,
}

impl NatsCluster {
    /// Starts the nodes and waits until they have a leader.
    ///
    /// # Errors
    /// As for [`NatsServer::start`] and [`Network::create`].
    pub async fn start(
        cache: &Cache,
        progress: &Progress,
        options: &ClusterOptions,
    ) -> Result<Self> {
        let network = match options.network {
            true => Some(Network::create(options.nodes)?),
            false => None,
        };
        let places = places(options.nodes, network.as_ref())?;
        // None is ready before it has found the others.
        let mut starting = tokio::task::JoinSet::new();
        for node in 0..options.nodes {
            let one = node_options(options, node, &places, network.as_ref());
            let (cache, progress) = (cache.clone(), progress.clone());
            starting.spawn(async move { (node, NatsServer::start(&cache, &progress, one).await) });
        }
        let mut nodes = Vec::new();
        while let Some(started) = starting.join_next().await {
            let (node, server) = started.map_err(|error| {
                DevstackError::io("start the nodes in", &options.data_dir)(error.into())
            })?;
            nodes.push((node, server?));
        }
        nodes.sort_by_key(|(node, _)| *node);
        Ok(Self {
            nodes: nodes.into_iter().map(|(_, server)| server).collect(),
            network,
        })
    }

    /// Where clients connect: all nodes, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// The nodes, in the order of their names.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// One of them, to be killed or restarted.
    pub fn node(&mut self, node: usize) -> Option<&mut NatsServer> {
        self.nodes.get_mut(node)
    }

    /// The node of this name, as answers of the servers give it.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|it| it.name() == name)
    }

    /// The network between them, if it is one that can be cut.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// The nodes, each to be watched over by itself; only of a cluster without a network of its own,
    /// which would go.
    #[must_use]
    pub fn into_nodes(self) -> Vec<NatsServer> {
        self.nodes
    }

    /// Stops all in order.
    pub async fn stop(&mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
struct Place {
    client: SocketAddr,
    monitor: u16,
    route: SocketAddr,
}

fn places(nodes: u8, network: Option<&Network>) -> Result<Vec<Place>> {
    if let Some(network) = network {
        let place = |node| {
            let host = IpAddr::V4(network.address(node));
            Place {
                client: SocketAddr::new(host, CLIENT_PORT),
                monitor: MONITOR_PORT,
                route: SocketAddr::new(host, ROUTE_PORT),
            }
        };
        return Ok((0..nodes).map(place).collect());
    }
    // Peers must know the ports before anyone listens. All are held until all are chosen, so that
    // none is given twice; between then and the start somebody else may take one, and the start
    // says so.
    let mut held = Vec::new();
    let mut free = || -> Result<u16> {
        let failed = || DevstackError::io("listen on", Path::new("127.0.0.1:0"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        let port = listener.local_addr().map_err(failed())?.port();
        held.push(listener);
        Ok(port)
    };
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    (0..nodes)
        .map(|_| {
            Ok(Place {
                client: SocketAddr::new(host, free()?),
                monitor: free()?,
                route: SocketAddr::new(host, free()?),
            })
        })
        .collect()
}

fn node_options(
    options: &ClusterOptions,
    node: u8,
    places: &[Place],
    network: Option<&Network>,
) -> NatsOptions {
    let name = format!("nats-{node}");
    let mut one = NatsOptions::new(options.data_dir.join(&name));
    one.name = name;
    one.sync_interval = options.sync_interval;
    one.auth = options.auth.clone();
    one.accounts = options.accounts.clone();
    one.namespace = network.map(|it| it.namespace(node));
    if let Some(place) = places.get(usize::from(node)) {
        one.listen_host = place.client.ip().to_string();
        one.port = Some(place.client.port());
        one.monitor_port = Some(place.monitor);
        one.cluster = Some(ClusterPart {
            listen: place.route,
            routes: places.iter().map(|it| it.route).collect(),
        });
    }
    one
}
