//! From where a request comes: the connection's other end, or what a proxy in front of the gateway
//! says. `X-Forwarded-For` is anybody's to write, so it counts only as far as proxies that the
//! configuration names have added to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::http::header::USER_AGENT;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use nexus_events::{Source, Tenant};

use crate::identity::{Caller, TENANT_HEADER};

/// Header of proxies: who called them, the nearest last.
const FORWARDED_FOR: &str = "X-Forwarded-For";
/// Addresses of it that are looked at.
const MOST_HOPS: usize = 16;

/// The other end of a connection. In the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<Network>);

impl Proxies {
    /// Reads addresses and networks.
    ///
    /// # Errors
    /// Says which is none.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let network = |text: &String| Network::parse(text).ok_or_else(|| not_a_network(text));
        texts
            .iter()
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Where a request comes from.
    pub(crate) fn source(&self, extensions: &Extensions, headers: &HeaderMap) -> Source {
        let peer = extensions
            .get::<Peer>()
            .map(|peer| peer.0.ip().to_canonical());
        let agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Source::new(peer.map(|peer| self.client(peer, headers)), agent)
    }

    /// The nearest address that is not a proxy's.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer;
        let lines = headers.get_all(FORWARDED_FOR).into_iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops.take(MOST_HOPS) {
            if !self.has(nearest) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            nearest = address.to_canonical();
        }
        nearest
    }

    /// Whether this is one of them.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(address))
    }
}

fn not_a_network(text: &str) -> String {
    let text: String = text.chars().take(64).collect();
    format!("{text:?} is no address and no network such as 10.0.0.0/8")
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && first_bits(self.address, self.bits) == first_bits(address, self.bits)
    }
}

/// An address with all but its first bits zero.
pub(crate) fn first_bits(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(bits))
                .unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(bits))
                .unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// What is known of a request when it is refused. In the extensions of every request: whoever finds
/// out who calls writes it here.
#[derive(Clone, Debug)]
pub(crate) struct Attempt(Arc<Known>);

#[derive(Debug)]
struct Known {
    source: Source,
    claimed: Option<HeaderValue>,
    caller: OnceLock<Caller>,
}

impl Attempt {
    pub(crate) fn new(source: Source, headers: &HeaderMap) -> Self {
        Self(Arc::new(Known {
            source,
            claimed: headers.get(TENANT_HEADER).cloned(),
            caller: OnceLock::new(),
        }))
    }

    pub(crate) fn source(&self) -> &Source {
        &self.0.source
    }

    /// It is known who calls.
    pub(crate) fn is_by(&self, caller: &Caller) {
        // Whoever was found first stays.
        let _ = self.0.caller.set(caller.clone());
    }

    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// The tenant that the request names, where that is a name at all.
    pub(crate) fn claimed_tenant(&self) -> Option<Tenant> {
        self.0.claimed.as_ref()?.to_str().ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|&text| text.to_owned()).collect();
        let proxies = Proxies::parse(&trusted).unwrap();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        let mut extensions = Extensions::new();
        extensions.insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        let source = proxies.source(&extensions, &headers);
        source.address.unwrap().to_string()
    }

    #[test]
    fn only_a_proxy_that_is_named_says_who_called() {
        let forged = ["1.1.1.1"];
        assert_eq!(client(&[], "10.0.0.9", &forged), "10.0.0.9");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &forged), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.9", &forged), "1.1.1.1");
        // What came before the first one that nobody vouches for is that one's invention.
        let chain = ["6.6.6.6, 2.2.2.2", "10.1.1.1"];
        assert_eq!(
            client(&["10.0.0.0/8"], "::ffff:10.0.0.9", &chain),
            "2.2.2.2"
        );
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.9", &["x"]), "10.0.0.9");
        assert_eq!(client(&["::1"], "::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client(&["0.0.0.0/0"], "10.0.0.9", &["3.3.3.3"]), "3.3.3.3");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/x"] {
            let said = Proxies::parse(&[bad.to_owned()]).unwrap_err();
            assert!(said.contains("no network"), "{said}");
        }
    }
}
