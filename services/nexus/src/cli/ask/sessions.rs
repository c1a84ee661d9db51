//! `nexus sessions`.

use std::collections::BTreeMap;

use nexus_events::SessionId;
use nexus_events::session::OnBusy;
use serde_json::{Value, json};

use super::{Asker, Paging, body};
use crate::cli::error::CliError;
use crate::cli::run::BudgetArgs;
use crate::cli::{fields, parse};

/// Conversations: runs in order, with a budget of their own.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SessionsVerb {
    /// The newest conversations
    List {
        /// active or closed
        #[arg(long)]
        status: Option<String>,
        /// Opened by this user
        #[arg(long, value_name = "USER")]
        opened_by: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One conversation
    Show {
        /// The conversation
        session_id: SessionId,
    },
    /// What was said in it
    Messages {
        /// The conversation
        session_id: SessionId,
        #[command(flatten)]
        paging: Paging,
    },
    /// Its runs
    Runs {
        /// The conversation
        session_id: SessionId,
        #[command(flatten)]
        paging: Paging,
    },
    /// Open one, with a budget and what policy is told
    Open {
        #[command(flatten)]
        budget: BudgetArgs,
        /// What policy is told of it, as a JSON object
        #[arg(long, value_name = "JSON", value_parser = object)]
        policy_context: Option<Value>,
        /// What a run gets that is started while another goes on: reject, enqueue (wait for its
        /// turn), interrupt (cancel the other and follow it) or rollback (cancel it and forget it)
        #[arg(long, value_name = "RULE", value_parser = parse::on_busy)]
        on_busy: Option<OnBusy>,
        /// A label of your own; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
        metadata: Vec<(String, String)>,
    },
    /// Take no further runs
    Close {
        /// The conversation
        session_id: SessionId,
    },
}

impl SessionsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List {
                status,
                opened_by,
                paging,
            } => {
                let mut query = paging.query();
                query.extend([("status", status), ("user", opened_by)]);
                asker
                    .list(&["v1", "sessions"], query, fields::SESSIONS)
                    .await
            }
            Self::Show { session_id } => {
                let session = asker
                    .get(&["v1", "sessions", &session_id.to_string()])
                    .await?;
                asker.output.one(fields::SESSION, &session)
            }
            Self::Messages { session_id, paging } => {
                let path = ["v1", "sessions", &session_id.to_string(), "messages"];
                asker.list(&path, paging.query(), fields::MESSAGES).await
            }
            Self::Runs { session_id, paging } => {
                let path = ["v1", "sessions", &session_id.to_string(), "runs"];
                asker.list(&path, paging.query(), fields::RUNS).await
            }
            Self::Open {
                budget,
                policy_context,
                on_busy,
                metadata,
            } => {
                let labels: BTreeMap<_, _> = metadata.into_iter().collect();
                let body = body([
                    ("budget", budget.budget().map(|budget| json!(budget))),
                    ("policy_context", policy_context),
                    ("on_busy", on_busy.map(|way| json!(way))),
                    ("metadata", (!labels.is_empty()).then(|| json!(labels))),
                ]);
                let answer = asker.post(&["v1", "sessions"], &body).await?;
                let id = answer
                    .get("session_id")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                asker.output.done(id, &answer)
            }
            Self::Close { session_id } => {
                let path = ["v1", "sessions", &session_id.to_string(), "close"];
                let answer = asker.post(&path, &json!({})).await?;
                asker.output.done(
                    &format!("session {session_id} takes no further runs"),
                    &answer,
                )
            }
        }
    }
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it must be a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
