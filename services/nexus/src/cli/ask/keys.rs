//! `nexus keys`.

use nexus_events::{KeyId, Timestamp};
use serde_json::{Value, json};

use super::{Asker, body};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::parse::span_ms;

/// API keys: who may call, as whom, and until when.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysVerb {
    /// All keys of the tenant but for their secrets
    List {
        /// Wait until the read models have this sequence
        #[arg(long, value_name = "SEQ")]
        min_seq: Option<u64>,
    },
    /// Make a key; it is shown once
    Create {
        /// What people call it
        name: String,
        /// Whoever has it acts as this user [default: you]
        #[arg(long, value_name = "USER")]
        acts_as: Option<String>,
        /// In this role; may be repeated. `admin` manages, `viewer` and `auditor` read
        #[arg(long, value_name = "ROLE")]
        in_role: Vec<String>,
        /// In this group; may be repeated
        #[arg(long, value_name = "GROUP")]
        in_group: Vec<String>,
        /// It may not be used after this time, such as 90d or 12h [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = span_ms)]
        expires_in: Option<u64>,
        /// Requests that may be made with it in a minute [default: what the gateway allows every key]
        #[arg(long, value_name = "N")]
        requests_per_minute: Option<u32>,
        /// Tokens that may be spent with it in a minute
        #[arg(long, value_name = "N")]
        tokens_per_minute: Option<u64>,
        /// Runs that may be in flight with it at a time
        #[arg(long, value_name = "N")]
        runs: Option<u64>,
    },
    /// Give a key another secret; it is shown once
    Rotate {
        /// The key's id
        key_id: KeyId,
        /// For how long the one before may be used too, such as 24h; at most 7d
        #[arg(long, value_name = "TIME", value_parser = span_ms, default_value = "0s")]
        grace: u64,
    },
    /// Let a key be used no more
    Revoke {
        /// The key's id
        key_id: KeyId,
        /// Why, for the log
        #[arg(long)]
        reason: Option<String>,
    },
}

impl KeysVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List { min_seq } => {
                let query = vec![("min_seq", min_seq.map(|seq| seq.to_string()))];
                asker.list(&["v1", "keys"], query, fields::KEYS).await
            }
            Self::Create {
                name,
                acts_as,
                in_role,
                in_group,
                expires_in,
                requests_per_minute,
                tokens_per_minute,
                runs,
            } => {
                let expires_at = expires_in.map(|ms| now().plus_millis(ms).to_string());
                let body = body([
                    ("name", Some(Value::from(name))),
                    ("user", acts_as.map(Value::from)),
                    ("roles", Some(json!(in_role))),
                    ("groups", Some(json!(in_group))),
                    ("expires_at", expires_at.map(Value::from)),
                    ("requests_per_minute", requests_per_minute.map(Value::from)),
                    ("tokens_per_minute", tokens_per_minute.map(Value::from)),
                    ("runs", runs.map(Value::from)),
                ]);
                let made = asker.post(&["v1", "keys"], &body).await?;
                asker.output.done(&shown(&made), &made)
            }
            Self::Rotate { key_id, grace } => {
                let path = ["v1", "keys", &key_id.to_string(), "rotate"];
                let made = asker.post(&path, &json!({ "grace_ms": grace })).await?;
                asker.output.done(&shown(&made), &made)
            }
            Self::Revoke { key_id, reason } => {
                let path = ["v1", "keys", &key_id.to_string(), "revoke"];
                let body = body([("reason", reason.map(Value::from))]);
                let done = asker.post(&path, &body).await?;
                let said = format!("{key_id} is revoked; it is refused within a second");
                asker.output.done(&said, &done)
            }
        }
    }
}

fn shown(made: &Value) -> String {
    let text = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{}\nIts id is {}. Keep it now: it is shown once.",
        text("key"),
        text("key_id")
    )
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
