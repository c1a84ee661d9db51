//! A tenant's API keys: who may call, as whom, and until when. What is kept of a key is a hash; the
//! key itself is shown once, by whoever made it.

mod command;
mod decide;
mod secret;

pub use command::{CreateKey, RevokeKey, RotateKey};
pub use decide::{NewKey, create, revoke, rotate};
pub use secret::{ApiKey, Minted};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::ids::KeyId;
use crate::time::Timestamp;

/// Keys that a tenant may have at the same time.
pub const MOST_KEYS: usize = 10_000;

events! {
    /// What becomes of keys.
    KeyEvent {
        /// A key may be used from here on.
        KeyCreated(KeyCreated) = "nexus.key.created.v1",
        /// Another secret takes its place.
        KeyRotated(KeyRotated) = "nexus.key.rotated.v1",
        /// It may not be used any more.
        KeyRevoked(KeyRevoked) = "nexus.key.revoked.v1",
    }
}

/// A key may be used from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    /// Its id, which is a part of it.
    pub key_id: KeyId,
    /// What people call it.
    pub name: String,
    /// Whoever has it acts as this user.
    pub user: String,
    /// In these roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// In these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// SHA-256 of the key, hexadecimal.
    pub hash: String,
    /// It may not be used after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Requests that may be made with it in a minute; what the gateway allows every key where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

/// Another secret takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotated {
    /// Its id.
    pub key_id: KeyId,
    /// SHA-256 of the key as it is from here on, hexadecimal.
    pub hash: String,
    /// Until then the one before may be used too.
    pub previous_until: Timestamp,
}

/// It may not be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    /// Its id.
    pub key_id: KeyId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A key that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it was created.
    pub created: KeyCreated,
    /// The secret that it has now, as a hash.
    hash: String,
    /// The one before, and until when it may be used.
    previous: Option<(String, Timestamp)>,
}

impl Key {
    /// Whether somebody who shows a key of this hash may act with it now.
    pub fn admits(&self, hash: &str, now: Timestamp) -> bool {
        let expired = self.created.expires_at.is_some_and(|end| end <= now);
        let previous = (self.previous.as_ref())
            .is_some_and(|(previous, until)| now < *until && same(previous, hash));
        !expired && (same(&self.hash, hash) || previous)
    }
}

/// Whether two hashes are the same, in a time that does not say where they differ.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// A tenant's keys. Those that were revoked are forgotten; the log has them.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// By id.
    pub keys: BTreeMap<KeyId, Key>,
}

impl Aggregate for Keys {
    const KIND: AggregateKind = AggregateKind::Keys;
    type Event = KeyEvent;

    fn evolve(&mut self, event: &KeyEvent, _: Position) {
        match event {
            KeyEvent::KeyCreated(created) => {
                let key = Key {
                    created: created.clone(),
                    hash: created.hash.clone(),
                    previous: None,
                };
                self.keys.insert(created.key_id, key);
            }
            KeyEvent::KeyRotated(rotated) => {
                if let Some(key) = self.keys.get_mut(&rotated.key_id) {
                    let before = std::mem::replace(&mut key.hash, rotated.hash.clone());
                    key.previous = Some((before, rotated.previous_until));
                }
            }
            KeyEvent::KeyRevoked(revoked) => {
                self.keys.remove(&revoked.key_id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
