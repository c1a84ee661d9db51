//! What a run did: its tool calls and its model calls, in order.

use nexus_events::{RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{QueryError, timestamp, unsigned, unsigned32};
use crate::Projections;

/// Calls that are given at most.
const MAX_CALLS: i64 = 1_000;

/// One tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallRow {
    /// The call.
    pub id: Uuid,
    /// The run that made it.
    pub run_id: RunId,
    /// The turn.
    pub turn: u32,
    /// The model's name for it, unique in its turn.
    pub call_id: String,
    /// The tool.
    pub tool_name: String,
    /// Its version; empty until it is started.
    pub tool_version: String,
    /// The arguments.
    pub input: Value,
    /// The result: JSON, or `{"object","bytes"}` where `output_stored` is true.
    pub output: Option<Value>,
    /// The result is in the object store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_stored: bool,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<u32>,
    /// How often it was started.
    pub attempts: u32,
    /// `pending`, `running`, `completed`, `failed`, `denied`, `in_doubt` where it waits for a word on
    /// what became of it, `handed_over` where it is the run's caller who executes it, or `abandoned`
    /// where the run ended first.
    pub status: String,
    /// With `in_doubt`: what is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Stable code of a failure.
    pub error_code: Option<String>,
    /// What the model was told.
    pub error_message: Option<String>,
    /// When the model asked for it.
    pub created_at: Timestamp,
    /// When it had an outcome.
    pub completed_at: Option<Timestamp>,
    /// Sequence of the commit that last changed it.
    pub seq: u64,
}

/// One model call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmCallRow {
    /// The run that made it.
    pub run_id: RunId,
    /// The turn.
    pub turn: u32,
    /// `completed`, `failed` or `aborted`.
    pub status: String,
    /// Who served it.
    pub provider: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of the prompt that came from the provider's cache.
    pub cached_input_tokens: u64,
    /// Tokens of the prompt that were written into it.
    pub cache_write_tokens: u64,
    /// The provider reported no usage: these are bounds from above.
    pub estimated: bool,
    /// What it cost.
    pub cost_usd_micros: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How long its first token took.
    pub time_to_first_token_ms: Option<u64>,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// Why it stopped.
    pub finish: Option<String>,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// Why this provider and model.
    pub route: Option<String>,
    /// Stable code of a failure.
    pub error_code: Option<String>,
    /// What happened.
    pub error_message: Option<String>,
    /// What the content filter found in it: direction, class, action and count of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Value>,
    /// The earlier answer that was given again: digest and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<Value>,
    /// When its outcome was recorded.
    pub created_at: Timestamp,
    /// Sequence of the commit that recorded it.
    pub seq: u64,
}

/// A row of `tool_calls`.
struct Record {
    id: Uuid,
    run_id: Uuid,
    turn: i32,
    call_id: String,
    tool_name: String,
    tool_version: String,
    input: Value,
    output: Option<Value>,
    latency_ms: Option<i32>,
    attempts: i32,
    status: String,
    error_code: Option<String>,
    error_message: Option<String>,
    created_at: OffsetDateTime,
    completed_at: Option<OffsetDateTime>,
    output_ref: Option<Value>,
    doubt: Option<String>,
    seq: i64,
}

impl From<Record> for ToolCallRow {
    fn from(row: Record) -> Self {
        Self {
            id: row.id,
            run_id: RunId::new(row.run_id),
            turn: unsigned32(row.turn),
            call_id: row.call_id,
            tool_name: row.tool_name,
            tool_version: row.tool_version,
            input: row.input,
            output_stored: row.output_ref.is_some(),
            output: row.output.or(row.output_ref),
            latency_ms: row.latency_ms.map(unsigned32),
            attempts: unsigned32(row.attempts),
            doubt: row.doubt.filter(|_| row.status == "in_doubt"),
            status: row.status,
            error_code: row.error_code,
            error_message: row.error_message,
            created_at: timestamp(row.created_at),
            completed_at: row.completed_at.map(timestamp),
            seq: unsigned(row.seq),
        }
    }
}

impl Projections {
    /// The tool calls of a tenant that wait for a word on what became of them, the newest doubt
    /// first; the first 1,000.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn tool_calls_in_doubt(
        &self,
        tenant: &Tenant,
    ) -> Result<Vec<ToolCallRow>, QueryError> {
        let rows = sqlx::query_as!(
            Record,
            "SELECT id, run_id, turn, call_id, tool_name, tool_version, input, output, latency_ms,
                    attempts, status, error_code, error_message, created_at, completed_at,
                    metadata -> 'output' AS output_ref, metadata ->> 'in_doubt' AS doubt, seq
             FROM tool_calls WHERE tenant = $1 AND status = 'in_doubt'
             ORDER BY seq DESC LIMIT $2",
            tenant.as_str(),
            MAX_CALLS,
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(ToolCallRow::from).collect())
    }

    /// How many tool calls of all tenants wait for a word on what became of them.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn count_tool_calls_in_doubt(&self) -> Result<i64, QueryError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM tool_calls WHERE status = 'in_doubt'"#
        );
        Ok(count.fetch_one(&self.read).await?)
    }
}
