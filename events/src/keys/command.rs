//! Commands on keys. Whoever sends them made the key: a secret never travels on the bus.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NewKey;
use crate::ids::KeyId;

/// `key.create`: let a key be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CreateKey(pub NewKey);

/// `key.rotate`: give it another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The key.
    pub key_id: KeyId,
    /// SHA-256 of the key as it will be, hexadecimal.
    pub hash: String,
    /// For how long the one before may be used too, at most a week.
    #[serde(default)]
    pub grace_ms: u64,
}

/// `key.revoke`: let it be used no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// The key.
    pub key_id: KeyId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
