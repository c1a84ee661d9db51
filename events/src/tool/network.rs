//! Whom a tool may speak to. Asked three times for every request and every redirect: for the host
//! that the URL names, for each address that the host resolves to, and what the answer may take.

use std::net::IpAddr;

use super::address::{AddressPattern, special};
use super::host::{Host, HostPattern};
use super::pattern::{Denied, PatternError, read_all};
use super::{ByteSize, NetworkPermissions, Span};

/// Of one response, where a document says nothing.
pub const DEFAULT_RESPONSE_SIZE: ByteSize = ByteSize::bytes(1 << 20);
/// Of one request, where a document says nothing.
pub const DEFAULT_TIMEOUT: Span = Span::from_millis(10_000);

/// The network part of a document, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    allowed: Vec<HostPattern>,
    blocked: Vec<AddressPattern>,
}

impl NetworkPermissions {
    /// Ready to be asked.
    ///
    /// # Errors
    /// A pattern has a mistake: then nothing may be reached.
    pub fn rules(&self) -> Result<NetworkRules, PatternError> {
        Ok(NetworkRules {
            allowed: read_all("network.allowed_hosts", &self.allowed_hosts)?,
            blocked: read_all("network.blocked_ips", &self.blocked_ips)?,
        })
    }

    /// Bytes of one response.
    pub fn response_size(&self) -> ByteSize {
        self.max_response_size.unwrap_or(DEFAULT_RESPONSE_SIZE)
    }

    /// Time of one request, redirects included.
    pub fn time_limit(&self) -> Span {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }
}

impl NetworkRules {
    /// Whether a request may name this host and port. Its addresses are another question.
    ///
    /// # Errors
    /// [`Denied`] with the host.
    pub fn host(&self, host: &Host, port: u16) -> Result<(), Denied> {
        if (self.allowed.iter()).any(|pattern| pattern.matches(host, port)) {
            return Ok(());
        }
        Err(Denied(format!(
            "{host}, port {port}, is not among the hosts that this tool may speak to"
        )))
    }

    /// Whether a connection for this host may go to this address: the host itself, or what its name
    /// resolves to.
    ///
    /// Special addresses (loopback, private, metadata …) are reached only by a request that names
    /// the very address, under a document that names it too. A name never gets there: who answers
    /// for a name is not who wrote the document. `blocked_ips` holds against everything.
    ///
    /// # Errors
    /// [`Denied`] with the address and why.
    pub fn address(&self, host: &Host, port: u16, address: IpAddr) -> Result<(), Denied> {
        let denied = |why: &str| Err(Denied(format!("{host} leads to {address}: {why}")));
        if self.blocked.iter().any(|pattern| pattern.matches(address)) {
            return denied("the tool's permissions block it");
        }
        let Some(kind) = special(address) else {
            return Ok(());
        };
        let literal = *host == Host::Address(address.to_canonical());
        if literal && (self.allowed.iter()).any(|pattern| pattern.names_address(address, port)) {
            return Ok(());
        }
        denied(kind)
    }
}
