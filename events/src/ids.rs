//! Identifiers with types. Random ones are made by the shell (UUIDv7) and passed in; derived ones
//! are made here, from a digest, so that the same cause always gives the same id.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An id that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(64).collect(),
            rule,
        }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From a UUID that the caller made (UUIDv7).
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id that these parts always give: a SHA-256 digest as UUIDv8.
            pub fn derive(parts: &[&str]) -> Self {
                Self(derive_uuid($what, parts))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId::new($what, text, "it must be a UUID"))
            }
        }
    };
}

uuid_id!(
    /// A question to people: may this go ahead?
    ApprovalId,
    "approval id"
);
uuid_id!(
    /// One API key of a tenant.
    KeyId,
    "key id"
);
uuid_id!(
    /// One agent run.
    RunId,
    "run id"
);
uuid_id!(
    /// One conversation. A run that names none opens one whose id is its own.
    SessionId,
    "session id"
);
uuid_id!(
    /// One webhook of a tenant.
    WebhookId,
    "webhook id"
);
uuid_id!(
    /// One reservation in the ledger; derived from the run and its turn.
    ReservationId,
    "reservation id"
);

impl RunId {
    /// The run that a tenant's idempotency key names, for ever.
    pub fn from_idempotency_key(tenant: &Tenant, key: &str) -> Self {
        Self::derive(&[tenant.as_str(), key])
    }

    /// The session that a run opens when it names none.
    pub const fn own_session(self) -> SessionId {
        SessionId(self.0)
    }

    /// A number that is as good as drawn by lot and always the same for the run, for what is shared
    /// out among runs.
    pub fn number(self) -> u64 {
        // The first half of an id has the time in it.
        self.0.as_u64_pair().1 & ((1 << 62) - 1)
    }
}

fn derive_uuid(what: &str, parts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(what.as_bytes());
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// A tenant: `[a-z0-9-]{1,63}`, so that it is a subject token, a NATS account and a label at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(std::sync::Arc<str>);

impl Tenant {
    /// The installation itself: what belongs to no tenant that can be trusted to be the caller's,
    /// such as requests that are refused before anybody knows who sent them.
    pub fn installation() -> Self {
        Self("nexus-installation".into())
    }

    /// The tenant's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::new(
                "tenant",
                text,
                "1 to 63 characters of a-z, 0-9 and -",
            ))
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Tenant {
    fn schema_name() -> Cow<'static, str> {
        "Tenant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,63}$" })
    }
}

/// A command's id (`ce-id`): 1 to 128 printable ASCII characters, as any client may choose it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct CommandId(String);

impl CommandId {
    /// A random id that the caller made.
    pub fn random(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }

    /// The id of the command that `cause` makes due as `what`: the same for ever, so that a replay
    /// collapses.
    pub fn derive(cause: &str, what: &str) -> Self {
        Self(derive_uuid("command", &[cause, what]).to_string())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                "command id",
                text,
                "1 to 128 printable ASCII characters",
            ))
        }
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an aggregate in its subject: a UUID, or the fixed name of a tenant's only one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggregateId(Cow<'static, str>);

impl AggregateId {
    /// The id of an aggregate of which a tenant has one (ledger, policy).
    pub const ONLY: Self = Self(Cow::Borrowed("main"));

    /// Reads the last token of an event's subject.
    pub fn from_token(token: &str) -> Self {
        Self(Cow::Owned(token.to_owned()))
    }

    /// As a subject token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<RunId> for AggregateId {
    fn from(id: RunId) -> Self {
        Self(Cow::Owned(id.to_string()))
    }
}

impl From<SessionId> for AggregateId {
    fn from(id: SessionId) -> Self {
        Self(Cow::Owned(id.to_string()))
    }
}

/// A process that writes a log of its own.
impl From<Uuid> for AggregateId {
    fn from(id: Uuid) -> Self {
        Self(Cow::Owned(id.to_string()))
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_tenant_is_a_subject_token() {
        assert!("acme-1".parse::<Tenant>().is_ok());
        let installation = Tenant::installation();
        assert_eq!(installation.as_str().parse(), Ok(installation));
        for bad in ["", "Acme", "a.b", "a b", "*", ">", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_names_one_run_per_tenant_for_ever() {
        let (a, b): (Tenant, Tenant) = ("a".parse().unwrap(), "b".parse().unwrap());
        let id = RunId::from_idempotency_key(&a, "key");
        assert_eq!(id, RunId::from_idempotency_key(&a, "key"));
        assert_ne!(id, RunId::from_idempotency_key(&b, "key"));
        // Pinned: a change of the derivation would start old runs again.
        assert_eq!(id.uuid().get_version_num(), 8);
    }

    #[test]
    fn a_command_id_is_short_and_printable() {
        assert!("order-42".parse::<CommandId>().is_ok());
        for bad in ["", "a b", "ä", "new\nline", &"x".repeat(129)] {
            assert!(bad.parse::<CommandId>().is_err(), "{bad}");
        }
    }
}
