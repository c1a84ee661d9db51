//! What becomes of keys: created, rotated, revoked.

use super::{KeyCreated, KeyEvent, KeyRevoked, KeyRotated, Keys, MOST_KEYS};
use crate::error::DomainError;
use crate::ids::KeyId;
use crate::time::Timestamp;

const MOST_TEXT: usize = 255;
const MOST_NAMES: usize = 16;
const MOST_NAME: usize = 64;
/// The one before a rotated key may be used for a week at most.
const MOST_GRACE_MS: u64 = 7 * 24 * 3_600_000;

/// A key to create.
pub type NewKey = KeyCreated;

/// Lets a key be used; the same one again is no event.
///
/// # Errors
/// A field is not valid, the id is another key's, or there are too many.
pub fn create(keys: &Keys, new: &NewKey, now: Timestamp) -> Result<Vec<KeyEvent>, DomainError> {
    text("name", &new.name)?;
    text("user", &new.user)?;
    names("roles", &new.roles)?;
    names("groups", &new.groups)?;
    hash(&new.hash)?;
    if new.requests_per_minute == Some(0) {
        let reason = "it must be at least 1; revoke a key that may not be used";
        return Err(DomainError::invalid("requests_per_minute", reason));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(DomainError::invalid(
            "expires_at",
            "it must be in the future",
        ));
    }
    match keys.keys.get(&new.key_id) {
        Some(known) if known.created == *new => Ok(vec![]),
        Some(_) => Err(DomainError::invalid("key_id", "it is another key's")),
        None if keys.keys.len() >= MOST_KEYS => {
            let reason = format!("there are {MOST_KEYS} keys already; revoke some first");
            Err(DomainError::invalid("key_id", reason))
        }
        None => Ok(vec![new.clone().into()]),
    }
}

/// Gives a key another secret; the one before may be used for `grace_ms` more.
///
/// # Errors
/// There is no such key, or a field is not valid.
pub fn rotate(
    keys: &Keys,
    key_id: KeyId,
    new_hash: &str,
    grace_ms: u64,
    now: Timestamp,
) -> Result<Vec<KeyEvent>, DomainError> {
    hash(new_hash)?;
    if grace_ms > MOST_GRACE_MS {
        let reason = format!("it is at most {MOST_GRACE_MS}");
        return Err(DomainError::invalid("grace_ms", reason));
    }
    let key = keys.keys.get(&key_id).ok_or_else(|| unknown(key_id))?;
    if key.hash == new_hash {
        return Ok(vec![]);
    }
    let rotated = KeyRotated {
        key_id,
        hash: new_hash.to_owned(),
        previous_until: now.plus_millis(grace_ms),
    };
    Ok(vec![rotated.into()])
}

/// Lets a key be used no more.
///
/// # Errors
/// There is no such key (any more).
pub fn revoke(
    keys: &Keys,
    key_id: KeyId,
    reason: Option<String>,
) -> Result<Vec<KeyEvent>, DomainError> {
    if let Some(reason) = &reason {
        text("reason", reason)?;
    }
    match keys.keys.contains_key(&key_id) {
        true => Ok(vec![KeyRevoked { key_id, reason }.into()]),
        false => Err(unknown(key_id)),
    }
}

fn unknown(key_id: KeyId) -> DomainError {
    DomainError::NotFound {
        what: "key",
        id: key_id.to_string(),
    }
}

fn text(field: &'static str, text: &str) -> Result<(), DomainError> {
    match (1..=MOST_TEXT).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(DomainError::invalid(
            field,
            format!("it must have 1 to {MOST_TEXT} bytes and no control characters"),
        )),
    }
}

fn names(field: &'static str, names: &[String]) -> Result<(), DomainError> {
    let good = |name: &String| {
        (1..=MOST_NAME).contains(&name.len())
            && name.bytes().all(|c| c.is_ascii_graphic() && c != b',')
    };
    match names.len() <= MOST_NAMES && names.iter().all(good) {
        true => Ok(()),
        false => Err(DomainError::invalid(
            field,
            format!("at most {MOST_NAMES} names of 1 to {MOST_NAME} visible ASCII characters"),
        )),
    }
}

fn hash(hash: &str) -> Result<(), DomainError> {
    let digits = hash.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    match hash.len() == 64 && digits {
        true => Ok(()),
        false => Err(DomainError::invalid(
            "hash",
            "it must be 64 hexadecimal digits",
        )),
    }
}
