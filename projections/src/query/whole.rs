//! One run with all that it did, by its key: what callers ask for most. One statement for as many
//! runs as are asked for at the same time, so that neither a run's calls nor another caller cost a
//! round trip; [`crate::lookups`] gathers them.

use futures_util::TryStreamExt;
use nexus_events::{RunId, Tenant};
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

use super::runs::Record;
use super::{LlmCallRow, QueryError, RunRow, ToolCallRow};
use crate::Projections;

/// A run's calls that are given at most; a run makes a few per turn, and its turns are limited.
const MAX_CALLS: i64 = 1_000;

/// A run with its calls, all as of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeRun {
    /// The run, with its whole input and output.
    pub run: RunRow,
    /// Its tool calls, in order; the first 1,000.
    pub tool_calls: Vec<ToolCallRow>,
    /// Its model calls, in order; the first 1,000.
    pub llm_calls: Vec<LlmCallRow>,
}

impl Projections {
    /// One run with its calls.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn whole_run(
        &self,
        tenant: &Tenant,
        id: RunId,
    ) -> Result<Option<WholeRun>, QueryError> {
        self.lookups.ask(tenant, id).await
    }
}

/// Finds runs; `found` is told of each as it comes, by its place among those that are asked for.
///
/// Each is looked up in a sub-select of its own, with a limit, where a join would do: it is then one
/// step down an index for each run, in a plan that fits however many there are.
pub(crate) async fn find(
    db: &mut PgConnection,
    tenants: &[String],
    runs: &[Uuid],
    mut found: impl FnMut(usize, Result<WholeRun, QueryError>) + Send,
) -> sqlx::Result<()> {
    let mut rows = sqlx::query!(
        r#"SELECT asked.place AS "place!", id AS "id!", session_id AS "session_id!",
                  previous_run_id AS "previous_run_id?", user_id AS "user_id!", agent AS "agent!",
                  agent_version AS "agent_version!", model AS "model!", tools AS "tools!",
                  status AS "status?", started_at AS "started_at!",
                  completed_at AS "completed_at?", tokens AS "tokens!", time_ms AS "time_ms!",
                  cost_usd_micros AS "cost_usd_micros!", turns AS "turns!",
                  max_turns AS "max_turns!", budget AS "budget?", input AS "input?",
                  input_ref AS "input_ref?", output AS "output?", output_ref AS "output_ref?",
                  finish AS "finish?", error_code AS "error_code?",
                  error_message AS "error_message?", trace_id AS "trace_id?",
                  metadata AS "metadata?", first_seq AS "first_seq!", last_seq AS "last_seq!",
                  parent_run_id AS "parent_run_id?", waiting_for AS "waiting_for?",
                  CASE WHEN status = 'queued' THEN (
                      SELECT count(*) FROM agent_runs q
                      WHERE q.tenant = r.tenant AND q.session_id = r.session_id
                        AND q.status = 'queued' AND q.queue_seq <= r.queue_seq)
                  END AS "queue_position?",
                  (SELECT json_agg(c)::text FROM (
                      SELECT id, run_id, turn, call_id, tool_name, tool_version, input,
                             coalesce(output, metadata -> 'output') AS output,
                             coalesce(metadata ? 'output', false) AS output_stored, latency_ms,
                             attempts, status, error_code, error_message, created_at, completed_at,
                             CASE WHEN status = 'in_doubt' THEN metadata ->> 'in_doubt' END AS doubt,
                             seq
                      FROM tool_calls WHERE tenant = r.tenant AND run_id = r.id
                      ORDER BY turn, position LIMIT $3
                  ) c) AS "tool_calls?",
                  (SELECT json_agg(c)::text FROM (
                      SELECT run_id, turn, status, provider, model, input_tokens, output_tokens,
                             cached_input_tokens, cache_write_tokens, estimated, cost_usd_micros,
                             duration_ms, time_to_first_token_ms, attempts, finish, response_id,
                             route, error_code, error_message, findings, cached, created_at, seq
                      FROM llm_calls WHERE tenant = r.tenant AND run_id = r.id
                      ORDER BY turn, seq LIMIT $3
                  ) c) AS "llm_calls?"
           FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS asked (of_tenant, run, place)
           CROSS JOIN LATERAL (
               SELECT * FROM agent_runs WHERE tenant = asked.of_tenant AND id = asked.run LIMIT 1
           ) r"#,
        tenants,
        runs,
        MAX_CALLS,
    )
    .fetch(db);
    while let Some(row) = rows.try_next().await? {
        let place = usize::try_from(row.place)
            .unwrap_or_default()
            .wrapping_sub(1);
        let (tool_calls, llm_calls) = (row.tool_calls, row.llm_calls);
        let run = Record {
            id: row.id,
            session_id: row.session_id,
            previous_run_id: row.previous_run_id,
            user_id: row.user_id,
            agent: row.agent,
            agent_version: row.agent_version,
            model: row.model,
            tools: row.tools,
            status: row.status,
            started_at: row.started_at,
            completed_at: row.completed_at,
            tokens: row.tokens,
            time_ms: row.time_ms,
            cost_usd_micros: row.cost_usd_micros,
            turns: row.turns,
            max_turns: row.max_turns,
            budget: row.budget,
            input: row.input,
            input_ref: row.input_ref,
            output: row.output,
            output_ref: row.output_ref,
            truncated: None,
            finish: row.finish,
            error_code: row.error_code,
            error_message: row.error_message,
            trace_id: row.trace_id,
            metadata: row.metadata,
            first_seq: row.first_seq,
            last_seq: row.last_seq,
            parent_run_id: row.parent_run_id,
            waiting_for: row.waiting_for,
            queue_position: row.queue_position,
        };
        found(
            place,
            whole(run, tool_calls.as_deref(), llm_calls.as_deref()),
        );
    }
    Ok(())
}

fn whole(
    run: Record,
    tool_calls: Option<&str>,
    llm_calls: Option<&str>,
) -> Result<WholeRun, QueryError> {
    Ok(WholeRun {
        run: run.try_into()?,
        tool_calls: calls("tool_calls", tool_calls)?,
        llm_calls: calls("llm_calls", llm_calls)?,
    })
}

/// Calls as the statement gives them: a JSON array, or nothing where there are none.
fn calls<T: DeserializeOwned>(
    table: &'static str,
    json: Option<&str>,
) -> Result<Vec<T>, QueryError> {
    let Some(json) = json else {
        return Ok(vec![]);
    };
    serde_json::from_str(json).map_err(|error| QueryError::Unreadable {
        table,
        what: error.to_string(),
    })
}
