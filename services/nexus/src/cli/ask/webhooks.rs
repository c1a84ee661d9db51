//! `nexus webhooks`.

use nexus_events::{SessionId, WebhookId};
use serde_json::{Value, json};

use super::{Asker, body};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::fields;
use crate::cli::parse::span_ms;

/// Events delivered to receivers of your own, signed and in order.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum WebhooksVerb {
    /// All webhooks of the tenant, and how far each has come
    List,
    /// One webhook, and how far it has come
    Show {
        /// The webhook's id
        webhook_id: WebhookId,
    },
    /// Deliver events to a receiver; the secret is shown once
    Create {
        #[command(flatten)]
        spec: SpecArgs,
        /// Begin with this sequence instead of now
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
    },
    /// Deliver somewhere else, or other events: all that it is from now on
    Update {
        /// The webhook's id
        webhook_id: WebhookId,
        #[command(flatten)]
        spec: SpecArgs,
    },
    /// Give a webhook another secret; it is shown once
    Rotate {
        /// The webhook's id
        webhook_id: WebhookId,
        /// For how long messages are signed with the one before too, such as 24h; at most 7d
        #[arg(long, value_name = "TIME", value_parser = span_ms, default_value = "24h")]
        grace: u64,
    },
    /// Deliver a message of no meaning, once, and say what came of it
    Test {
        /// The webhook's id
        webhook_id: WebhookId,
    },
    /// Go on delivering where it stopped
    Enable {
        /// The webhook's id
        webhook_id: WebhookId,
    },
    /// Deliver nothing until it is enabled; nothing is forgotten
    Disable {
        /// The webhook's id
        webhook_id: WebhookId,
        /// Why, for the log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Deliver again from a sequence on, or try at once what waits
    Redeliver {
        /// The webhook's id
        webhook_id: WebhookId,
        /// The first sequence that is delivered again
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
    },
    /// Be done with a webhook
    Delete {
        /// The webhook's id
        webhook_id: WebhookId,
    },
    /// The last tries, and what came of each
    Deliveries {
        /// The webhook's id
        webhook_id: WebhookId,
    },
}

/// Where to, and what.
#[derive(Debug, clap::Args)]
pub(crate) struct SpecArgs {
    /// The receiver's address; `--url` is the gateway's
    #[arg(value_name = "ADDRESS")]
    receiver: String,
    /// Only events of this type, such as nexus.run.completed.v1 or nexus.run.*; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of runs of this agent
    #[arg(long, value_name = "NAME")]
    of_agent: Option<String>,
    /// Only events of this session and its runs
    #[arg(long, value_name = "ID")]
    of_session: Option<SessionId>,
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl SpecArgs {
    fn body(self) -> Value {
        body([
            ("url", Some(Value::from(self.receiver))),
            ("types", Some(json!(self.types))),
            ("agent", self.of_agent.map(Value::from)),
            ("session_id", self.of_session.map(|id| json!(id))),
            ("description", self.description.map(Value::from)),
        ])
    }
}

impl WebhooksVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<Exit, CliError> {
        match self {
            Self::List => {
                let path = ["v1", "webhooks"];
                asker.list(&path, vec![], fields::WEBHOOKS).await?;
            }
            Self::Show { webhook_id } => {
                let path = ["v1", "webhooks", &webhook_id.to_string()];
                let webhook = asker.get(&path).await?;
                asker.output.one(fields::WEBHOOK, &webhook)?;
            }
            Self::Create { spec, from } => {
                let mut body = spec.body();
                if let Some(from) = from {
                    body["from_seq"] = json!(from);
                }
                let made = asker.post(&["v1", "webhooks"], &body).await?;
                asker.output.done(&shown(&made), &made)?;
            }
            Self::Update { webhook_id, spec } => {
                let path = ["v1", "webhooks", &webhook_id.to_string()];
                let done = asker.put(&path, &spec.body()).await?;
                let said = format!("{webhook_id} delivers as it says now");
                asker.output.done(&said, &done)?;
            }
            Self::Rotate { webhook_id, grace } => {
                let body = json!({ "grace_ms": grace });
                let made = post(asker, webhook_id, "rotate", &body).await?;
                asker.output.done(&shown(&made), &made)?;
            }
            Self::Test { webhook_id } => return test(asker, webhook_id).await,
            Self::Enable { webhook_id } => {
                let done = post(asker, webhook_id, "enable", &json!({})).await?;
                let said = format!("{webhook_id} is enabled");
                asker.output.done(&said, &done)?;
            }
            Self::Disable { webhook_id, reason } => {
                let body = body([("reason", reason.map(Value::from))]);
                let done = post(asker, webhook_id, "disable", &body).await?;
                let said = format!("{webhook_id} is disabled; it keeps its place");
                asker.output.done(&said, &done)?;
            }
            Self::Redeliver { webhook_id, from } => {
                let body = body([("from_seq", from.map(Value::from))]);
                let done = post(asker, webhook_id, "redeliver", &body).await?;
                let said = match from {
                    Some(from) => format!("{webhook_id} delivers again from {from} on"),
                    None => format!("{webhook_id} tries at once what waits"),
                };
                asker.output.done(&said, &done)?;
            }
            Self::Delete { webhook_id } => {
                let path = ["v1", "webhooks", &webhook_id.to_string()];
                let done = asker.delete(&path).await?;
                asker
                    .output
                    .done(&format!("{webhook_id} is deleted"), &done)?;
            }
            Self::Deliveries { webhook_id } => {
                let path = ["v1", "webhooks", &webhook_id.to_string(), "deliveries"];
                asker.list(&path, vec![], fields::DELIVERIES).await?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn post(
    asker: &Asker,
    webhook: WebhookId,
    verb: &str,
    body: &Value,
) -> Result<Value, CliError> {
    let path = ["v1", "webhooks", &webhook.to_string(), verb];
    asker.post(&path, body).await
}

async fn test(asker: &Asker, webhook: WebhookId) -> Result<Exit, CliError> {
    let done = post(asker, webhook, "test", &json!({})).await?;
    let delivered = done.get("delivered") == Some(&Value::Bool(true));
    let status = done.get("status").and_then(Value::as_u64).unwrap_or(0);
    let error = done.get("error").and_then(Value::as_str);
    let said = match error {
        _ if delivered => format!("{webhook}: the receiver took it with status {status}"),
        Some(error) => format!("{webhook}: {error}"),
        None => format!("{webhook}: accepted; nobody has answered yet"),
    };
    asker.output.done(&said, &done)?;
    Ok(if delivered { Exit::Done } else { Exit::Failed })
}

fn shown(made: &Value) -> String {
    let text = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{}\nThe webhook is {}. Keep its secret now: it is shown once.",
        text("secret"),
        text("webhook_id")
    )
}
