//! `nexus budgets`.

use nexus_events::ReservationId;
use nexus_events::ledger::{Limits, OnExhausted};
use serde_json::{Value, json};

use super::{Asker, Paging, body};
use crate::cli::error::CliError;
use crate::cli::format::{count, duration, usd};
use crate::cli::http::Request;
use crate::cli::print::{hint, write};
use crate::cli::view::{Field, rows, told};
use crate::cli::{fields, parse};

/// Limits, what is held and what was spent.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BudgetsVerb {
    /// Every scope that has limits
    List {
        /// Only tenant, user, key, agent, session or run
        #[arg(long, value_name = "KIND", value_parser = KINDS)]
        scope: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One scope: limits, spend, who holds it and who waits
    Show(ScopeArgs),
    /// Set limits; what is not named is lifted
    Set {
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Who waits for budget, in the order of the lines
    Waiting {
        /// Of this run
        #[arg(long, value_name = "RUN")]
        run: Option<nexus_events::RunId>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Give one who waits what he waits for, by raising the limit
    Grant {
        /// The reservation, as `budgets waiting` names it
        reservation: ReservationId,
        /// By how much, in the limit's own unit (micro-dollars, milliseconds); else what is missing
        #[arg(long, value_name = "N")]
        amount: Option<u64>,
    },
    /// Say no to one who waits; its run fails
    Refuse {
        /// The reservation, as `budgets waiting` names it
        reservation: ReservationId,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// What was spent, summed up
    Spend(SpendArgs),
    /// Limits that are nearly used up, and calls that spent more than was held
    Alerts {
        /// threshold or overrun
        #[arg(long, value_parser = ["threshold", "overrun"])]
        kind: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
}

const KINDS: [&str; 6] = ["tenant", "user", "key", "agent", "session", "run"];

/// Who spends.
#[derive(Debug, clap::Args)]
pub(crate) struct ScopeArgs {
    /// tenant, user, key, agent, session or run
    #[arg(value_parser = KINDS)]
    kind: String,
    /// Which one; the tenant needs none
    #[arg(required_if_eq_any = [("kind", "user"), ("kind", "agent"), ("kind", "session"), ("kind", "run")])]
    id: Option<String>,
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// lifetime, minute, hour, day or month
    #[arg(long, default_value = "lifetime", value_parser = ["lifetime", "minute", "hour", "day", "month"])]
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
    /// Tools that may be called
    #[arg(long, value_name = "N")]
    tool_calls: Option<u64>,
    /// Runs that may be in flight at a time
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// What happens to a step that does not fit: reject, park (it waits its turn), downgrade (to the
    /// agent's next cheaper model) or approve (a person is asked) [default: as before]
    #[arg(long, value_name = "RULE", value_parser = parse::on_exhausted)]
    on_exhausted: Option<OnExhausted>,
    /// Percentages of a limit at which spending is told, such as 50,80,95 [default: as before]
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', num_args = 1..=4)]
    thresholds: Option<Vec<u8>>,
}

/// What is summed up.
#[derive(Debug, clap::Args)]
pub(crate) struct SpendArgs {
    /// What is summed up apart: any of day, user, agent and model
    #[arg(long, value_name = "KEYS", value_delimiter = ',', value_parser = ["day", "user", "agent", "model"])]
    by: Vec<String>,
    /// On this day or later, as 2026-11-01 (UTC)
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// On this day or before
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// By this user
    #[arg(long, value_name = "USER")]
    spent_by: Option<String>,
    /// By this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// With this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl ScopeArgs {
    fn path(&self) -> Vec<&str> {
        let mut path = vec!["v1", "budgets", &self.kind];
        path.extend(self.id.as_deref().filter(|_| self.kind != "tenant"));
        path
    }
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            tokens: self.tokens,
            cost_usd_micros: self.usd,
            time_ms: self.seconds.map(|seconds| seconds.saturating_mul(1000)),
            tool_calls: self.tool_calls,
            runs: self.runs,
        }
    }

    fn body(&self) -> Value {
        body([
            ("window", Some(json!(self.window))),
            ("limits", Some(json!(self.limits()))),
            ("on_exhausted", self.on_exhausted.map(|rule| json!(rule))),
            (
                "thresholds",
                self.thresholds.as_ref().map(|percents| json!(percents)),
            ),
        ])
    }
}

impl BudgetsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List { scope, paging } => {
                let mut query = paging.query();
                query.push(("scope", scope));
                let path = ["v1", "budgets"];
                list(asker, &path, query, fields::BUDGETS, 2)
                    .await
                    .map(drop)
            }
            Self::Show(scope) => show(asker, &asker.get(&scope.path()).await?),
            Self::Set { scope, limits } => set(asker, &scope, &limits).await,
            Self::Waiting { run, paging } => {
                let mut query = paging.query();
                query.push(("status", Some("waiting".to_owned())));
                query.push(("run_id", run.map(|run| run.to_string())));
                let path = ["v1", "reservations"];
                let page = list(asker, &path, query, fields::WAITING, 2).await?;
                if !asker.output.json && !rows(&page).is_empty() {
                    hint("let one go on with: nexus budgets grant RESERVATION");
                }
                Ok(())
            }
            Self::Grant {
                reservation,
                amount,
            } => {
                let body = body([("amount", amount.map(Value::from))]);
                tell(asker, reservation, "grant", "is granted", &body).await
            }
            Self::Refuse {
                reservation,
                reason,
            } => {
                let body = body([("reason", reason.map(Value::from))]);
                tell(asker, reservation, "refuse", "is refused", &body).await
            }
            Self::Spend(args) => spend(asker, args).await,
            Self::Alerts { kind, paging } => {
                let mut query = paging.query();
                query.push(("kind", kind));
                let path = ["v1", "budgets", "alerts"];
                list(asker, &path, query, fields::ALERTS, 2).await.map(drop)
            }
        }
    }
}

/// A page, without the columns that say nothing.
async fn list(
    asker: &Asker,
    path: &[&str],
    query: super::Query<'_>,
    fields: &[Field],
    always: usize,
) -> Result<Value, CliError> {
    let request = Request {
        path,
        query: &query,
        ..Request::default()
    };
    let page: Value = asker.gateway.get(request).await?;
    asker
        .output
        .list(&told(fields, always, rows(&page)), &page)?;
    Ok(page)
}

async fn set(asker: &Asker, scope: &ScopeArgs, limits: &LimitArgs) -> Result<(), CliError> {
    let path = scope.path();
    let request = Request::at(&path);
    let answer: Value = asker.gateway.put(request, &limits.body()).await?;
    let what = if limits.limits().is_unlimited() {
        "lifted"
    } else {
        "set"
    };
    let who = format!("{} {}", scope.kind, scope.id.as_deref().unwrap_or_default());
    let sentence = format!("limits {what} ({}): {}", limits.window, who.trim_end());
    asker.output.done(&sentence, &answer)
}

async fn tell(
    asker: &Asker,
    reservation: ReservationId,
    verb: &str,
    then: &str,
    body: &Value,
) -> Result<(), CliError> {
    let path = ["v1", "reservations", &reservation.to_string(), verb];
    let answer = asker.post(&path, body).await?;
    let sentence = format!("reservation {reservation} {then}");
    asker.output.done(&sentence, &answer)
}

async fn spend(asker: &Asker, args: SpendArgs) -> Result<(), CliError> {
    let mut query = args.paging.query();
    query.extend([
        ("by", (!args.by.is_empty()).then(|| args.by.join(","))),
        ("from", args.from),
        ("to", args.to),
        ("user", args.spent_by),
        ("agent", args.agent),
        ("model", args.model),
    ]);
    let page = list(asker, &["v1", "spend"], query, fields::SPEND, 0).await?;
    match page.get("total").map(total) {
        Some(total) if !asker.output.json && rows(&page).len() > 1 => {
            write(&format!("\n{total}\n"))
        }
        _ => Ok(()),
    }
}

/// The sum of all pages, in one line.
fn total(sums: &Value) -> String {
    let sum = |name: &str| sums.get(name).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "in all   {} calls · {} tool calls · {} tokens · {} · {}",
        count(sum("calls")),
        count(sum("tool_calls")),
        count(sum("tokens")),
        usd(sum("cost_usd_micros")),
        duration(sum("time_ms")),
    )
}

fn show(asker: &Asker, standing: &Value) -> Result<(), CliError> {
    if asker.output.json {
        return asker.output.value(standing);
    }
    let windows = standing.get("windows").unwrap_or(standing);
    if rows(windows).is_empty() {
        hint("no limits are set and nothing was spent");
    } else {
        let fields = told(fields::BUDGETS, 2, rows(windows));
        asker.output.list(&fields, windows)?;
    }
    for (heading, fields, name) in [
        ("Held by", fields::RESERVATIONS, "reservations"),
        ("Waiting", fields::WAITING, "waiting"),
    ] {
        let part = standing.get(name);
        let fields = told(fields, 2, part.map_or(&[], rows));
        asker.output.part(heading, &fields, part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
