//! Signatures as <https://www.standardwebhooks.com> has them: `v1,` and HMAC-SHA256 over id, time and
//! body. A webhook's secret derives from a key of the installation, the webhook and a number that is
//! on the log, so that it is nowhere: not in the log, not in a table, and with every process that has
//! the key. Sealing random secrets with that key and keeping them was the alternative; it protects no
//! better, for who has the key opens them, and would put ciphertext on a log that is kept for ever.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::ids::{Tenant, WebhookId};

const KEY_BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// The key of an installation that secrets derive from.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Arc<[u8; KEY_BYTES]>);

/// A key that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of webhooks is not 64 hexadecimal digits")]
pub struct SigningKeyError;

/// What a webhook's messages are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; KEY_BYTES]);

impl SigningKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SigningKeyError`], which does not quote them.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| SigningKeyError)?;
        Ok(Self(Arc::new(key)))
    }

    /// The secret of a webhook under one of its ids.
    pub fn secret(&self, tenant: &Tenant, webhook: WebhookId, secret_id: Uuid) -> WebhookSecret {
        let purpose = b"nexus webhook secret".as_slice();
        let ids = (webhook.uuid(), secret_id);
        let parts = [
            purpose,
            tenant.as_str().as_bytes(),
            ids.0.as_bytes(),
            ids.1.as_bytes(),
        ];
        let mut message = vec![];
        for part in parts {
            // With its length before it, so that no two lists of parts are one text.
            message.extend((part.len() as u64).to_be_bytes());
            message.extend(part);
        }
        WebhookSecret(mac(self.0.as_slice(), &message))
    }
}

impl WebhookSecret {
    /// As receivers keep it: `whsec_` and base64.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// One entry of the header `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut message = format!("{id}.{timestamp_s}.").into_bytes();
        message.extend(body);
        format!("v1,{}", STANDARD.encode(mac(&self.0, &message)))
    }
}

/// What a message is called on each try, so that a receiver knows one that it has: its place.
pub fn message_id(webhook: WebhookId, seq: u64, index: u32) -> String {
    format!("msg_{}_{seq}_{index}", webhook.uuid().simple())
}

fn mac(key: &[u8], message: &[u8]) -> [u8; KEY_BYTES] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; KEY_BYTES];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_what_the_standard_says() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let signature = STANDARD.encode(mac(&secret, message));
        assert_eq!(signature, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let secret = WebhookSecret([7; 32]);
        let whole = STANDARD.encode(mac(&[7; 32], b"a.5.{}"));
        assert_eq!(secret.sign("a", 5, b"{}"), format!("v1,{whole}"));
    }

    #[test]
    fn each_webhook_has_a_secret_of_its_own_and_none_is_shown() {
        let key = SigningKey::parse(&"ab".repeat(32)).unwrap();
        let (acme, globex): (Tenant, Tenant) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let (one, two) = (WebhookId::derive(&["1"]), WebhookId::derive(&["2"]));
        let secret = |tenant, id, nth| key.secret(tenant, id, Uuid::from_u128(nth)).text();
        let first = secret(&acme, one, 1);
        assert!(first.starts_with("whsec_") && first.len() == 50, "{first}");
        assert_eq!(first, secret(&acme, one, 1));
        for other in [
            secret(&globex, one, 1),
            secret(&acme, two, 1),
            secret(&acme, one, 2),
        ] {
            assert_ne!(first, other);
        }
        let shown = format!("{key:?}{:?}", key.secret(&acme, one, Uuid::nil()));
        assert_eq!(shown, "SigningKey(…)WebhookSecret(…)");
        assert!(SigningKey::parse("ab").is_err());
    }
}
