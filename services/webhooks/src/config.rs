//! What an installation decides about its webhooks.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nexus_events::webhook::progress::Schedule;
use nexus_events::webhook::{Reach, SigningKey, UnknownAddress};
use serde::Deserialize;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// More tries than that help nobody.
const MOST_PAUSES: usize = 32;

/// `[webhooks]`; every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// File with the key that secrets derive from: 64 hexadecimal digits; that of the seals where
    /// absent. The gateway and the role need the same one.
    pub secret_file: Option<PathBuf>,
    /// The key itself, for where it comes from the environment: `NEXUS_WEBHOOKS_SECRET`.
    pub secret: Option<Secret>,
    /// Whether receivers may be called without TLS.
    pub allow_http: bool,
    /// Addresses (`127.0.0.1`, `10.0.0.0/8`) that may be called although they are not public.
    pub allow_private: Vec<String>,
    /// How long a receiver may take to answer.
    pub timeout_ms: u64,
    /// Pauses before the second try, the third …; the last one for all that follow.
    pub retry_pauses_ms: Vec<u64>,
    /// No pause is longer, whatever a receiver asks for.
    pub longest_pause_ms: u64,
    /// A receiver that took nothing for so long is disabled.
    pub disable_after_ms: u64,
    /// Messages on their way to one receiver, each of another run.
    pub parallel: usize,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            secret_file: None,
            secret: None,
            allow_http: false,
            allow_private: vec![],
            timeout_ms: 15 * SECOND_MS,
            retry_pauses_ms: vec![
                5 * SECOND_MS,
                5 * MINUTE_MS,
                30 * MINUTE_MS,
                2 * HOUR_MS,
                5 * HOUR_MS,
                10 * HOUR_MS,
                14 * HOUR_MS,
                20 * HOUR_MS,
                DAY_MS,
            ],
            longest_pause_ms: DAY_MS,
            disable_after_ms: 5 * DAY_MS,
            parallel: 8,
        }
    }
}

/// A key as text. It is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever makes a key of it; none where nothing is written.
    pub fn text(&self) -> Option<&str> {
        Some(self.0.trim()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number is out of bounds.
    #[error("webhooks.{field} must be {rule}")]
    Bounds {
        /// Which.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// No addresses.
    #[error("webhooks.allow_private: {0}")]
    Addresses(#[from] UnknownAddress),
}

/// What the role works by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) key: Option<SigningKey>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) timeout: Duration,
    pub(crate) parallel: usize,
}

impl WebhooksConfig {
    /// As the role takes it. Without a key nothing is delivered, and commands say so.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn settings(&self, key: Option<SigningKey>) -> Result<Settings, ConfigError> {
        let bounds = |field, rule| Err(ConfigError::Bounds { field, rule });
        if !(100..=MINUTE_MS).contains(&self.timeout_ms) {
            return bounds("timeout_ms", "100 to 60000");
        }
        if !(1..=64).contains(&self.parallel) {
            return bounds("parallel", "1 to 64");
        }
        let pauses = &self.retry_pauses_ms;
        if !(1..=MOST_PAUSES).contains(&pauses.len()) || pauses.contains(&0) {
            return bounds("retry_pauses_ms", "1 to 32 pauses of at least 1 ms");
        }
        if self.longest_pause_ms == 0 || self.disable_after_ms == 0 {
            return bounds("longest_pause_ms and disable_after_ms", "at least 1");
        }
        Ok(Settings {
            key,
            reach: Arc::new(Reach::new(self.allow_http, &self.allow_private)?),
            schedule: Arc::new(Schedule {
                pauses_ms: pauses.clone(),
                disable_after_ms: self.disable_after_ms,
                longest_ms: self.longest_pause_ms,
            }),
            timeout: Duration::from_millis(self.timeout_ms),
            parallel: self.parallel,
        })
    }
}
