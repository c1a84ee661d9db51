//! How many connections are open, in all and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::GatewayConfig;
use crate::source::{Proxies, first_bits};

/// See the module.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    most_each: usize,
    proxies: Proxies,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection that counts, as long as this is there.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Connections {
    pub(crate) fn new(config: &GatewayConfig) -> Arc<Self> {
        Arc::new(Self {
            most: config.max_connections,
            most_each: config.max_connections_per_address,
            proxies: Proxies::parse(&config.trusted_proxies).unwrap_or_default(),
            open: Mutex::default(),
        })
    }

    /// Counts one more; none where there are too many.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let address = (!self.proxies.has(peer)).then(|| match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(_) => first_bits(peer, 64),
        });
        let mut open = self.lock();
        if open.all >= self.most {
            return None;
        }
        if let Some(address) = address {
            let count = open.by_address.entry(address).or_default();
            if *count >= self.most_each {
                return None;
            }
            *count += 1;
        }
        open.all += 1;
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.all = open.all.saturating_sub(1);
        let Some(address) = self.address else { return };
        let left = open.by_address.get_mut(&address).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn connections_are_few_in_all_and_of_one_address_and_proxies_bring_many() {
        let connections = Connections::new(&GatewayConfig {
            max_connections: 4,
            max_connections_per_address: 2,
            trusted_proxies: vec!["10.0.0.0/8".to_owned()],
            ..GatewayConfig::default()
        });
        let enter = |peer: &str| connections.enter(peer.parse().unwrap());
        let (one, two) = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(one.is_some() && two.is_some());
        assert!(enter("2001:db8::3").is_none(), "too many of this network");
        drop(one);
        let mut kept = vec![enter("2001:db8::3").unwrap(), two.unwrap()];
        kept.extend([enter("10.0.0.1").unwrap(), enter("10.0.0.1").unwrap()]);
        assert!(enter("192.0.2.1").is_none(), "too many in all");
        drop(kept);
        assert_eq!(connections.lock().all, 0);
        assert!(connections.lock().by_address.is_empty());
    }
}
