//! What a key looks like: `nxk_<tenant>_<id>_<secret>`, id and secret in hexadecimal digits. The
//! tenant is in it so that one read finds it; the prefix is for those who search for leaked ones.

use std::fmt;

use hex::FromHex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::{KeyId, Tenant};

const PREFIX: &str = "nxk";
/// Random bytes of a secret: nobody guesses 192 bits, so that its hash needs no salt and no delay.
const SECRET_BYTES: usize = 24;

/// A key as somebody shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it says that it is.
    pub tenant: Tenant,
    /// Which one it says that it is.
    pub id: KeyId,
    secret: [u8; SECRET_BYTES],
}

/// A key that was just made: the only moment at which it is known.
pub struct Minted {
    /// The key, for whoever asked for it.
    pub key: String,
    /// For the log.
    pub hash: String,
}

impl ApiKey {
    /// Makes a key of random bytes that the caller brings.
    pub fn mint(tenant: &Tenant, id: KeyId, secret: [u8; SECRET_BYTES]) -> Minted {
        let tenant = tenant.clone();
        let key = Self { tenant, id, secret };
        Minted {
            key: key.text(),
            hash: key.hash(),
        }
    }

    /// Reads a key; none for what is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        let key = match (parts.next()?, parts.next()?, parts.next()?, parts.next()?) {
            (PREFIX, tenant, id, secret) => Self {
                tenant: tenant.parse().ok()?,
                id: KeyId::new(Uuid::from_bytes(<[u8; 16]>::from_hex(id).ok()?)),
                secret: <[u8; SECRET_BYTES]>::from_hex(secret).ok()?,
            },
            _ => return None,
        };
        parts.next().is_none().then_some(key)
    }

    /// Whether a text looks like a key of ours, whole or not.
    pub fn is_like(text: &str) -> bool {
        text.strip_prefix(PREFIX)
            .is_some_and(|rest| rest.starts_with('_'))
    }

    /// SHA-256 of the whole key, hexadecimal.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.text()))
    }

    fn text(&self) -> String {
        let (tenant, id) = (&self.tenant, self.id.uuid().simple());
        format!("{PREFIX}_{tenant}_{id}_{}", hex::encode(self.secret))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {})", self.tenant, self.id)
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minted(…)")
    }
}
