//! `nexus runs`.

use nexus_events::{RunId, SessionId};
use serde_json::{Value, json};

use super::{Asker, Paging, body};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::view;

/// Look at runs and steer them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RunsVerb {
    /// The newest runs
    List {
        /// Of this conversation
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
        /// pending, running, waiting, paused, completed, failed or cancelled
        #[arg(long)]
        status: Option<String>,
        /// Of this agent
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// Started by this user
        #[arg(long, value_name = "USER")]
        started_by: Option<String>,
        /// Started at this time or later, as 2026-11-22T13:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Started before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One run, with its model calls and tool calls
    Show {
        /// The run
        run_id: RunId,
    },
    /// Everything that was recorded of a run
    Events {
        /// The run
        run_id: RunId,
        /// Only these types, separated by commas: nexus.run.started.v1
        #[arg(long)]
        types: Option<String>,
        /// Events at most
        #[arg(long, value_name = "N", default_value_t = 200)]
        limit: u32,
        /// Events after this place in the log
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Stop a run; what it spent is settled
    Cancel(Control),
    /// Take no further step
    Pause(Control),
    /// Go on
    Resume(Control),
    /// Tell a running run something; the model sees it at its next turn
    Signal {
        /// The run
        run_id: RunId,
        /// What to tell it
        text: String,
    },
}

/// A run, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Control {
    /// The run
    run_id: RunId,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
}

impl RunsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List {
                session,
                status,
                agent,
                started_by,
                since,
                until,
                paging,
            } => {
                let mut query = paging.query();
                query.extend([
                    ("session_id", session.map(|id| id.to_string())),
                    ("status", status),
                    ("agent", agent),
                    ("user", started_by),
                    ("since", since),
                    ("until", until),
                ]);
                asker.list(&["v1", "runs"], query, fields::RUNS).await
            }
            Self::Show { run_id } => show(asker, run_id).await,
            Self::Events {
                run_id,
                types,
                limit,
                cursor,
            } => {
                let path = ["v1", "runs", &run_id.to_string(), "events"];
                let query = vec![
                    ("types", types),
                    ("limit", Some(limit.to_string())),
                    ("after", cursor),
                ];
                asker.list(&path, query, fields::EVENTS).await
            }
            Self::Cancel(control) => steer(asker, "cancel", "is being stopped", control).await,
            Self::Pause(control) => steer(asker, "pause", "is paused", control).await,
            Self::Resume(control) => steer(asker, "resume", "goes on", control).await,
            Self::Signal { run_id, text } => {
                let path = ["v1", "runs", &run_id.to_string(), "signal"];
                let answer = asker.post(&path, &json!({ "input": text })).await?;
                asker
                    .output
                    .done(&format!("run {run_id} is told at its next turn"), &answer)
            }
        }
    }
}

async fn show(asker: &Asker, run_id: RunId) -> Result<(), CliError> {
    let run = asker.get(&["v1", "runs", &run_id.to_string()]).await?;
    if run.get("status").is_none() {
        return asker
            .output
            .done(&format!("run {run_id} is accepted and has not begun"), &run);
    }
    asker.output.one(fields::RUN, &run)?;
    asker
        .output
        .part("Waits for", fields::WAITS_FOR, run.get("waiting_for"))?;
    let calls = run.get("llm_calls");
    let rows = calls.map_or(&[][..], view::rows);
    let shown = view::told(fields::LLM_CALLS, fields::LLM_CALLS_ALWAYS, rows);
    asker.output.part("Model calls", &shown, calls)?;
    asker
        .output
        .part("Tool calls", fields::TOOL_CALLS, run.get("tool_calls"))
}

async fn steer(asker: &Asker, verb: &str, then: &str, control: Control) -> Result<(), CliError> {
    let path = ["v1", "runs", &control.run_id.to_string(), verb];
    let answer = asker
        .post(&path, &body([("reason", control.reason.map(Value::from))]))
        .await?;
    asker
        .output
        .done(&format!("run {} {then}", control.run_id), &answer)
}
