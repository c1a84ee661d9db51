//! One run with all that it did.

use std::time::Duration;

use nexus_bus::process::load_latest;
use nexus_events::run::Run;
use nexus_events::{AggregateId, RunId, SessionId, Tenant};
use nexus_projections::query::{LlmCallRow, QueryError, RunRow, ToolCallRow, WholeRun};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use super::fold;
use crate::app::App;
use crate::http::ApiError;
use crate::known::Known;
use crate::stream::bodies::text_of;

/// How long the database may take before the log is asked instead.
const PATIENCE: Duration = Duration::from_secs(1);

/// One run with all that it did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct RunView {
    /// The run.
    #[serde(flatten)]
    pub(crate) run: RunRow,
    /// Its tool calls, in order; the first 1,000.
    pub(crate) tool_calls: Vec<ToolCallRow>,
    /// Its model calls, in order; the first 1,000.
    pub(crate) llm_calls: Vec<LlmCallRow>,
}

/// What is known of a run.
pub(crate) enum Seen {
    /// It has begun.
    Run(Box<RunView>),
    /// The bus has its command; no role has taken it up.
    Queued(SessionId),
}

/// Looks a run up: in the read models, else on the log, else among what was accepted here.
pub(crate) async fn look_up(app: &App, tenant: &Tenant, run: RunId) -> Result<Seen, ApiError> {
    let found = soon(app.projections().whole_run(tenant, run)).await?;
    if let Some(found) = found {
        return Ok(Seen::Run(Box::new(view(app, tenant, found).await)));
    }
    let (row, _) = from_log(app, tenant, run).await?;
    if let Some(run) = row {
        let alone = WholeRun {
            run,
            tool_calls: vec![],
            llm_calls: vec![],
        };
        return Ok(Seen::Run(Box::new(view(app, tenant, alone).await)));
    }
    match app.known().get(tenant, run) {
        Some(Known::Queued(session)) => Ok(Seen::Queued(session)),
        _ => Err(ApiError::not_found("run", run)),
    }
}

/// The run's row, as far as the database answers soon: the log has all of it, too.
pub(crate) async fn in_read_models(
    app: &App,
    tenant: &Tenant,
    run: RunId,
) -> Result<Option<RunRow>, ApiError> {
    soon(app.projections().run(tenant, run)).await
}

/// What the database says, as far as it says anything soon.
async fn soon<T>(
    asked: impl Future<Output = Result<Option<T>, QueryError>>,
) -> Result<Option<T>, ApiError> {
    match timeout(PATIENCE, asked).await {
        Ok(Err(QueryError::Database(error))) => {
            tracing::warn!(%error, "a run is read from the log, the database is away");
            Ok(None)
        }
        Ok(row) => Ok(row?),
        Err(_) => {
            tracing::warn!("a run is read from the log, the database is slow");
            Ok(None)
        }
    }
}

/// The run's row and whether it has ended, from the log.
pub(crate) async fn from_log(
    app: &App,
    tenant: &Tenant,
    run: RunId,
) -> Result<(Option<RunRow>, bool), ApiError> {
    let first_seq = app.known().first_seq(tenant, run).unwrap_or(0);
    let id = AggregateId::from(run);
    let loaded = app
        .in_time(load_latest::<Run>(app.store(), tenant, &id, first_seq))
        .await?;
    let row = fold::row(&loaded.state, loaded.seq);
    Ok((row, loaded.state.status.is_terminal()))
}

async fn view(app: &App, tenant: &Tenant, found: WholeRun) -> RunView {
    let WholeRun {
        mut run,
        tool_calls,
        llm_calls,
    } = found;
    let objects = app.objects();
    run.input = text_of(&objects, tenant, std::mem::take(&mut run.input)).await;
    if let Some(output) = run.output.take() {
        run.output = Some(text_of(&objects, tenant, output).await);
    }
    RunView {
        run,
        tool_calls,
        llm_calls,
    }
}
