//! `nexus budgets`.

use nexus_events::ledger::Limits;
use serde_json::{Value, json};

use super::{Asker, Paging};
use crate::cli::error::CliError;
use crate::cli::http::Request;
use crate::cli::print::hint;
use crate::cli::view::rows;
use crate::cli::{fields, parse};

/// Limits, what is held and what was spent.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BudgetsVerb {
    /// Every scope that has limits
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// One scope: limits, spend, and who holds it
    Show(ScopeArgs),
    /// Set limits; what is not named is lifted
    Set {
        #[command(flatten)]
        scope: ScopeArgs,
        /// lifetime, hour, day or month
        #[arg(long, default_value = "lifetime", value_parser = ["lifetime", "hour", "day", "month"])]
        window: String,
        /// Tokens, input and output together
        #[arg(long, value_name = "N")]
        tokens: Option<u64>,
        /// Cost, such as 12.50
        #[arg(long, value_name = "USD", value_parser = parse::usd_micros)]
        usd: Option<u64>,
        /// Seconds of model calls and tools
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
    },
}

/// Who spends.
#[derive(Debug, clap::Args)]
pub(crate) struct ScopeArgs {
    /// tenant, user, agent, session or run
    #[arg(value_parser = ["tenant", "user", "agent", "session", "run"])]
    kind: String,
    /// Which one; the tenant needs none
    #[arg(required_if_eq_any = [("kind", "user"), ("kind", "agent"), ("kind", "session"), ("kind", "run")])]
    id: Option<String>,
}

impl ScopeArgs {
    fn path(&self) -> Vec<&str> {
        let mut path = vec!["v1", "budgets", &self.kind];
        path.extend(self.id.as_deref().filter(|_| self.kind != "tenant"));
        path
    }
}

impl BudgetsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List { paging } => {
                asker
                    .list(&["v1", "budgets"], paging.query(), fields::BUDGETS)
                    .await
            }
            Self::Show(scope) => show(asker, &asker.get(&scope.path()).await?),
            Self::Set {
                scope,
                window,
                tokens,
                usd,
                seconds,
            } => {
                let limits = Limits {
                    tokens,
                    cost_usd_micros: usd,
                    time_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
                    ..Limits::default()
                };
                let body = json!({ "window": window, "limits": limits });
                let path = scope.path();
                let answer: Value = asker.gateway.put(Request::at(&path), &body).await?;
                let what = if limits.is_unlimited() {
                    "lifted"
                } else {
                    "set"
                };
                let who = format!("{} {}", scope.kind, scope.id.as_deref().unwrap_or_default());
                asker.output.done(
                    &format!("limits {what} ({window}): {}", who.trim_end()),
                    &answer,
                )
            }
        }
    }
}

fn show(asker: &Asker, standing: &Value) -> Result<(), CliError> {
    if asker.output.json {
        return asker.output.value(standing);
    }
    let windows = standing.get("windows").unwrap_or(standing);
    if rows(windows).is_empty() {
        hint("no limits are set and nothing was spent");
    } else {
        asker.output.list(fields::BUDGETS, windows)?;
    }
    asker.output.part(
        "Held by",
        fields::RESERVATIONS,
        standing.get("reservations"),
    )
}
