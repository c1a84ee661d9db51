//! Who a command is from. Whoever may publish to a tenant's commands could write any name into
//! `nexus-actor`, and the server's own word about a connection is lost in JetStream, which strips it
//! before it stores. So the platform's processes seal what they publish with a key of the
//! installation, and what comes without a seal acts as the tenant's bus client: a user without roles,
//! who may start, steer and talk, and nothing else.
//!
//! One key that all processes share was chosen over key pairs: every role publishes commands and
//! every role reads them, so that there is nobody who only verifies.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use nexus_events::{Actor, Command, CommandEnvelope, CommandId, Tenant, subject};
use sha2::Sha256;

/// Header of the seal.
pub const SEAL: &str = "nexus-seal";

const SCHEME: &str = "v1=";
const KEY_BYTES: usize = 32;
/// Who acts where nobody vouches for a name.
pub const BUS_USER: &str = "bus";

/// The key of an installation.
#[derive(Clone)]
pub struct SealKey(Arc<[u8; KEY_BYTES]>);

/// A key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the key of the seal is not 64 hexadecimal digits")]
pub struct SealKeyError;

impl SealKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SealKeyError`], which does not quote them.
    pub fn parse(text: &str) -> Result<Self, SealKeyError> {
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| SealKeyError)?;
        Ok(Self(Arc::new(key)))
    }

    fn mac(&self, purpose: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).ok()?;
        part(&mut mac, purpose.as_bytes());
        Some(mac)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// What a process knows of seals.
#[derive(Clone, Debug, Default)]
pub struct Seals {
    /// The key, where there is one: what is published is sealed with it.
    pub key: Option<SealKey>,
    /// Whether a name counts only under a seal.
    pub required: bool,
}

/// What a seal says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) role: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) id: &'a CommandId,
    pub(crate) actor: &'a str,
    pub(crate) body: &'a [u8],
}

/// Something that only the platform, or somebody with a role, may ask for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{role}.{verb} is not for clients of the bus: it needs a credential of somebody, at the gateway"
)]
pub struct Unsealed {
    role: &'static str,
    verb: &'static str,
}

impl Seals {
    /// The seal of a command, where there is a key.
    pub(crate) fn seal(&self, what: Sealed<'_>) -> Option<String> {
        let mac = mac_of(self.key.as_ref()?, what)?;
        let tag = hex::encode(mac.finalize().into_bytes());
        Some(format!("{SCHEME}{tag}"))
    }

    fn holds(&self, seal: &str, what: Sealed<'_>) -> bool {
        let mac = self.key.as_ref().and_then(|key| mac_of(key, what));
        let tag = seal.strip_prefix(SCHEME);
        let tag = tag.and_then(|tag| hex::decode(tag).ok());
        match (mac, tag) {
            (Some(mac), Some(tag)) => mac.verify_slice(&tag).is_ok(),
            _ => false,
        }
    }

    /// The message id of a command. The window in which ids are compared knows no tenants: under a
    /// key nobody can take the id of another's command beforehand.
    pub(crate) fn message_id(&self, tenant: &str, id: &str) -> String {
        let plain = format!("{tenant}/{id}");
        let Some(mut mac) = self.key.as_ref().and_then(|key| key.mac("message id")) else {
            return plain;
        };
        part(&mut mac, plain.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Makes the envelope say only what is vouched for.
    ///
    /// # Errors
    /// [`Unsealed`]: the command is not for whom nobody vouches.
    pub(crate) fn admit(
        &self,
        (seal, actor): (Option<&str>, Option<&str>),
        command: &Command,
        body: &[u8],
        envelope: &mut CommandEnvelope,
    ) -> Result<(), Unsealed> {
        if !self.required {
            return Ok(());
        }
        let (role, verb) = (command.role(), command.verb());
        let what = Sealed {
            tenant: &envelope.tenant,
            role,
            verb,
            id: &envelope.id,
            actor: actor.unwrap_or_default(),
            body,
        };
        if seal.is_some_and(|seal| self.holds(seal, what)) {
            return Ok(());
        }
        envelope.actor = Actor {
            user: BUS_USER.to_owned(),
            ..Actor::default()
        };
        // Inboxes belong to whoever is connected beside us; a tenant's answers have a place.
        let own = subject::reply_prefix(&envelope.tenant);
        envelope.reply_to.take_if(|reply| !reply.starts_with(&own));
        match command.is_for_bus_clients() {
            true => Ok(()),
            false => Err(Unsealed { role, verb }),
        }
    }
}

fn mac_of(key: &SealKey, what: Sealed<'_>) -> Option<Hmac<Sha256>> {
    let mut mac = key.mac("command")?;
    let texts = [
        what.tenant.as_str(),
        what.role,
        what.verb,
        what.id.as_str(),
        what.actor,
    ];
    texts
        .iter()
        .for_each(|text| part(&mut mac, text.as_bytes()));
    part(&mut mac, what.body);
    Some(mac)
}

/// With its length before it, so that no two lists of parts are one text.
fn part(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::RunId;
    use nexus_events::command::{ControlRun, DecideApproval};

    use super::*;

    const ANN: &str = r#"{"user":"ann","roles":["admin"]}"#;

    fn seals(key: &str) -> Seals {
        Seals {
            key: Some(SealKey::parse(&key.repeat(32)).unwrap()),
            required: true,
        }
    }

    fn envelope() -> CommandEnvelope {
        CommandEnvelope {
            id: "c-1".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            correlation: None,
            causation: None,
            traceparent: None,
            actor: serde_json::from_str(ANN).unwrap(),
            reply_to: Some("_INBOX.a".to_owned()),
            reply_confirmed: false,
        }
    }

    fn cancel() -> Command {
        let run_id = RunId::derive(&["x"]);
        let control = ControlRun {
            run_id,
            reason: None,
        };
        nexus_events::command::CancelRun(control).into()
    }

    fn approve() -> Command {
        let body = r#"{"run_id":"0193e8a0-0000-7000-8000-000000000001",
            "approval_id":"0193e8a0-0000-7000-8000-000000000002","answer":"approve"}"#;
        let body: DecideApproval = serde_json::from_str(body).unwrap();
        body.into()
    }

    fn sealed(by: &Seals, command: &Command, actor: &str, body: &[u8]) -> Option<String> {
        by.seal(Sealed {
            tenant: &"acme".parse().unwrap(),
            role: command.role(),
            verb: command.verb(),
            id: &"c-1".parse().unwrap(),
            actor,
            body,
        })
    }

    #[test]
    fn what_is_sealed_keeps_its_actor_and_its_inbox() {
        let seals = seals("ab");
        let seal = sealed(&seals, &approve(), ANN, b"{}");
        let mut read = envelope();
        let headers = (seal.as_deref(), Some(ANN));
        seals.admit(headers, &approve(), b"{}", &mut read).unwrap();
        assert_eq!(read, envelope());
    }

    #[test]
    fn whatever_differs_breaks_the_seal() {
        let ours = seals("ab");
        let good = sealed(&ours, &approve(), ANN, b"{}").unwrap();
        let others = sealed(&seals("cd"), &approve(), ANN, b"{}").unwrap();
        let cases: [(Option<&str>, &str, &[u8]); 6] = [
            (None, ANN, b"{}"),
            (Some(""), ANN, b"{}"),
            (Some(&others), ANN, b"{}"),
            (Some(&good[..20]), ANN, b"{}"),
            (Some(&good), r#"{"user":"bob","roles":["admin"]}"#, b"{}"),
            (Some(&good), ANN, b"{ }"),
        ];
        for (seal, actor, body) in cases {
            let mut read = envelope();
            let refused = ours.admit((seal, Some(actor)), &approve(), body, &mut read);
            assert!(refused.is_err(), "{seal:?} {actor}");
        }
        let mut other = envelope();
        other.tenant = "globex".parse().unwrap();
        let headers = (Some(good.as_str()), Some(ANN));
        assert!(ours.admit(headers, &approve(), b"{}", &mut other).is_err());
        let mut moved = envelope();
        assert!(ours.admit(headers, &cancel(), b"{}", &mut moved).is_ok());
        assert_eq!(moved.actor.user, "bus", "the seal was of another command");
    }

    #[test]
    fn who_is_not_vouched_for_is_the_bus_without_roles() {
        let seals = seals("ab");
        let mut read = envelope();
        seals
            .admit((None, Some(ANN)), &cancel(), b"{}", &mut read)
            .unwrap();
        assert_eq!(
            (read.actor.user.as_str(), read.actor.roles.len()),
            ("bus", 0)
        );
        assert_eq!(read.reply_to, None);
        let mut read = envelope();
        read.reply_to = Some("nexus.acme.reply.1".to_owned());
        seals
            .admit((None, None), &cancel(), b"{}", &mut read)
            .unwrap();
        assert!(read.reply_to.is_some());
    }

    #[test]
    fn where_no_seal_is_required_names_are_believed() {
        let mut read = envelope();
        let open = Seals::default();
        open.admit((None, Some(ANN)), &approve(), b"{}", &mut read)
            .unwrap();
        assert_eq!(read, envelope());
    }

    #[test]
    fn ids_of_messages_cannot_be_guessed_under_a_key() {
        assert_eq!(Seals::default().message_id("acme", "1"), "acme/1");
        let id = seals("ab").message_id("acme", "1");
        assert_eq!(id.len(), 64);
        assert_eq!(id, seals("ab").message_id("acme", "1"));
        assert_ne!(id, seals("cd").message_id("acme", "1"));
        assert_ne!(id, seals("ab").message_id("acme", "2"));
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = "ab".repeat(32);
        let shown = format!("{:?}", seals("ab"));
        assert!(!shown.contains(&key[..8]), "{shown}");
        assert!(SealKey::parse("abc").is_err());
    }
}
