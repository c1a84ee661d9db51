//! A network of network namespaces, a host in each, so that what lies between two hosts can be cut
//! as a pulled cable cuts it: nothing is refused, nothing arrives.
//!
//! Proxies between the hosts were the alternative, which needs no root. A cluster of nats-server
//! gossips addresses past them, and a closed connection is an answer that a real cut does not give.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{DevstackError, Result, files};

/// Networks that may be there at once; each has its subnet in 198.18.0.0/16, which is set aside for
/// tests (RFC 2544).
const MOST: u8 = 200;
/// The address of this machine in each.
const GATEWAY: u8 = 254;

/// Hosts that are connected by a bridge, and with this machine. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    id: u8,
    hosts: u8,
}

impl Network {
    /// Whether this process may make one.
    #[must_use]
    pub fn is_possible() -> bool {
        rustix::process::geteuid().is_root() && ip().is_ok()
    }

    /// Makes a network of so many hosts, removing on the way those whose makers are gone.
    ///
    /// # Errors
    /// [`DevstackError::NoNamespaces`] without root or `ip`, [`DevstackError::Network`] when the
    /// kernel refuses.
    pub fn create(hosts: u8) -> Result<Self> {
        if !Self::is_possible() {
            return Err(DevstackError::NoNamespaces);
        }
        let id = claim()?;
        let network = Self { id, hosts };
        let bridge = bridge(id);
        run(&format!(
            "address add {}/24 dev {bridge}",
            address(id, GATEWAY)
        ))?;
        run(&format!("link set {bridge} up"))?;
        for host in 0..hosts {
            network.add(host)?;
        }
        Ok(network)
    }

    fn add(&self, host: u8) -> Result<()> {
        let (bridge, space) = (bridge(self.id), namespace(self.id, host));
        let (outside, inside) = (cable(self.id, host), "eth0");
        run(&format!("netns add {space}"))?;
        run(&format!(
            "link add {outside} type veth peer name {inside} netns {space}"
        ))?;
        run(&format!("link set {outside} master {bridge}"))?;
        run(&format!("link set {outside} up"))?;
        run(&format!(
            "-n {space} address add {}/24 dev {inside}",
            self.address(host)
        ))?;
        run(&format!("-n {space} link set lo up"))?;
        run(&format!("-n {space} link set {inside} up"))
    }

    /// The address of a host, reachable from this machine and from the other hosts.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        address(self.id, host + 1)
    }

    /// The namespace of a host.
    #[must_use]
    pub fn namespace(&self, host: u8) -> String {
        namespace(self.id, host)
    }

    /// Lets nothing pass between two hosts any more. Both go on reaching this machine.
    ///
    /// # Errors
    /// [`DevstackError::Network`].
    pub fn cut(&self, one: u8, other: u8) -> Result<()> {
        self.lose(one, other)?;
        self.lose(other, one)
    }

    fn lose(&self, from: u8, to: u8) -> Result<()> {
        let (space, to) = (self.namespace(from), self.address(to));
        run(&format!("-n {space} route replace blackhole {to}/32"))
    }

    /// Lets everything pass between all hosts again.
    ///
    /// # Errors
    /// [`DevstackError::Network`].
    pub fn heal(&self) -> Result<()> {
        (0..self.hosts).try_for_each(|host| {
            run(&format!(
                "-n {} route flush type blackhole",
                self.namespace(host)
            ))
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(self.id);
    }
}

/// The program that makes networks.
pub(super) fn ip() -> Result<PathBuf> {
    // Where a user's path often does not lead.
    let usual = || {
        ["/usr/sbin/ip", "/sbin/ip"]
            .into_iter()
            .map(PathBuf::from)
            .find(|it| files::is_executable(it))
    };
    files::on_path("ip")
        .or_else(usual)
        .ok_or(DevstackError::NoNamespaces)
}

/// Takes a number that nobody has, by the bridge of that name: the kernel gives it to one. Its
/// alias says whose it is, so that it can be taken from the dead.
fn claim() -> Result<u8> {
    let mut last = DevstackError::NoNamespaces;
    for id in 0..MOST {
        let bridge = bridge(id);
        let place = Path::new("/sys/class/net").join(&bridge);
        if place.exists() {
            match owner(&place) {
                Some(pid) if !Path::new(&format!("/proc/{pid}")).exists() => remove(id),
                _ => continue,
            }
        }
        match run(&format!("link add {bridge} type bridge")) {
            Ok(()) => {
                let pid = std::process::id();
                run(&format!("link set {bridge} alias {pid}"))?;
                remove_hosts(id);
                return Ok(id);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn owner(place: &Path) -> Option<u32> {
    let alias = fs::read_to_string(place.join("ifalias")).ok()?;
    alias.trim().parse().ok()
}

/// What is not there is not removed; nothing else can go wrong that anyone could mend.
fn remove(id: u8) {
    remove_hosts(id);
    let _ = run(&format!("link delete {}", bridge(id)));
}

fn remove_hosts(id: u8) {
    // A cable goes with its namespace too, but only once the last connection in there has timed
    // out, and the number may be claimed again at once.
    for cable in named("/sys/class/net", &format!("nxc{id}-")) {
        let _ = run(&format!("link delete {cable}"));
    }
    for space in named("/run/netns", &format!("nxn{id}-")) {
        let _ = run(&format!("netns delete {space}"));
    }
}

fn named(place: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn run(arguments: &str) -> Result<()> {
    let program = ip()?;
    let output = Command::new(&program)
        .args(arguments.split(' '))
        .output()
        .map_err(DevstackError::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    Err(DevstackError::Network {
        arguments: arguments.to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn address(id: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, id, host)
}

fn bridge(id: u8) -> String {
    format!("nxb{id}")
}

fn cable(id: u8, host: u8) -> String {
    format!("nxc{id}-{host}")
}

fn namespace(id: u8, host: u8) -> String {
    format!("nxn{id}-{host}")
}
