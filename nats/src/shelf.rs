//! Answers that may be given again: small values by the digest of what was asked. They only save
//! time and money; all of them may be gone at any moment.
//!
//! A stream of our own subjects was chosen over the client's key-value store for the reasons that
//! `objects.rs` gives: the tenant comes first in the subject, so that an account can be granted one
//! tenant's alone. Nothing here is insisted on: a bus that is slow or away is a value that is not there.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use nexus_events::{Tenant, subject};

use crate::connect::Bus;
use crate::js;
use crate::publish::set_header;
use crate::read;
use crate::topology::ANSWERS;

/// A larger value is not kept.
pub const LARGEST_BYTES: usize = 64 * 1024;
/// Header that says how long a message is kept.
const TTL: &str = "Nats-TTL";

/// The shelf of all tenants, each seeing its own.
#[derive(Clone, Debug)]
pub struct Shelf {
    bus: Bus,
}

impl Shelf {
    /// The shelf of an installation.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// What lies under a digest, if it is there and comes in time.
    pub async fn get(&self, tenant: &Tenant, digest: &str, patience: Duration) -> Option<Bytes> {
        let subject = subject::answer(tenant, digest);
        let read = read::last(&self.bus, ANSWERS, &subject);
        match tokio::time::timeout(patience, read).await {
            Ok(Ok(stored)) => stored.map(|stored| stored.body),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the shelf of answers cannot be read");
                None
            }
            Err(_) => {
                tracing::debug!("the shelf of answers is slow and not waited for");
                None
            }
        }
    }

    /// Puts a value there in the place of what lay there before. One that is too large, or that the
    /// bus does not take in time, is not kept.
    pub async fn put(
        &self,
        tenant: &Tenant,
        digest: &str,
        value: Bytes,
        ttl: Duration,
        patience: Duration,
    ) {
        if value.len() > LARGEST_BYTES {
            return;
        }
        let subject = subject::answer(tenant, digest);
        let mut headers = HeaderMap::new();
        set_header(&mut headers, TTL, format!("{}s", ttl.as_secs().max(1)));
        let put = js::publish(&self.bus, &subject, headers, value);
        match tokio::time::timeout(patience, put).await {
            Ok(Ok(_)) => {}
            Ok(Err((error, _))) => tracing::debug!(%error, "an answer was not kept"),
            Err(_) => tracing::debug!("an answer was not kept in time"),
        }
    }
}
