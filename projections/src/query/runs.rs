//! Runs: one by id, and lists with the newest first.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use nexus_events::command::Budget;
use nexus_events::ledger::Amounts;
use nexus_events::{Body, RunId, SessionId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Cursor, Page, PageRequest, QueryError, Waits, body, json, timestamp, unsigned, unsigned32,
};
use crate::{Projections, text};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for its turn in its session.
    Queued,
    /// Policy has not let it start yet.
    Pending,
    /// It takes turns.
    Running,
    /// It waits for budget, or for somebody.
    Waiting,
    /// It takes no further step until it is resumed.
    Paused,
    /// It ended with an answer.
    Completed,
    /// It ended without one.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl RunStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True for the three ends.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status is queued, pending, running, waiting, paused, completed, failed or cancelled")]
pub struct InvalidStatus;

impl FromStr for RunStatus {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(InvalidStatus)
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunRow {
    /// The run.
    pub id: RunId,
    /// The conversation that it belongs to.
    pub session_id: SessionId,
    /// The run before it in its session.
    pub previous_run_id: Option<RunId>,
    /// Who started it.
    pub user_id: String,
    /// The agent.
    pub agent: String,
    /// The agent's version.
    pub agent_version: String,
    /// The model that was asked for.
    pub model: String,
    /// The tools that the model may call.
    pub tools: Vec<String>,
    /// How far it is.
    pub status: RunStatus,
    /// While it is `queued`: its place among those that wait in its session, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What it used so far.
    pub cost: Amounts,
    /// The run that it works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<RunId>,
    /// While it is `waiting`: for what, with what a person grants or refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<Waits>,
    /// What it may use; none: unlimited.
    pub budget: Option<Budget>,
    /// Model calls that were answered.
    pub turns: u32,
    /// Model calls that it may make.
    pub max_turns: u32,
    /// What the person said: a text, or `{"object","bytes"}`.
    pub input: Body,
    /// What the model said last: a text, or `{"object","bytes"}`.
    pub output: Option<Body>,
    /// True where a list shows only the beginning of `input` or `output`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Why the model stopped: `stop`, `length`, `tool_calls` or `content_filter`.
    pub finish: Option<String>,
    /// Stable code of a failure.
    pub error_code: Option<String>,
    /// Why it failed or was cancelled.
    pub error_message: Option<String>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// The caller's own labels.
    pub metadata: Value,
    /// Sequence of its first commit.
    pub first_seq: u64,
    /// Sequence of its last commit.
    pub last_seq: u64,
}

/// Which runs; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this conversation.
    pub session: Option<SessionId>,
    /// As far as this.
    pub status: Option<RunStatus>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Started by this user.
    pub user: Option<String>,
    /// Started at this time or later.
    pub since: Option<Timestamp>,
    /// Started before this time.
    pub until: Option<Timestamp>,
}

/// Texts are cut to this many characters in lists.
const PREVIEW_CHARS: i32 = 2_000;

pub(super) struct Record {
    pub(super) id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) previous_run_id: Option<Uuid>,
    pub(super) user_id: String,
    pub(super) agent: String,
    pub(super) agent_version: String,
    pub(super) model: String,
    pub(super) tools: Value,
    pub(super) status: Option<String>,
    pub(super) started_at: OffsetDateTime,
    pub(super) completed_at: Option<OffsetDateTime>,
    pub(super) tokens: i64,
    pub(super) time_ms: i64,
    pub(super) cost_usd_micros: i64,
    pub(super) turns: i32,
    pub(super) max_turns: i32,
    pub(super) budget: Option<Value>,
    pub(super) input: Option<String>,
    pub(super) input_ref: Option<Value>,
    pub(super) output: Option<String>,
    pub(super) output_ref: Option<Value>,
    pub(super) truncated: Option<bool>,
    pub(super) finish: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) metadata: Option<Value>,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) parent_run_id: Option<Uuid>,
    pub(super) waiting_for: Option<Value>,
    pub(super) queue_position: Option<i64>,
}

impl TryFrom<Record> for RunRow {
    type Error = QueryError;

    fn try_from(row: Record) -> Result<Self, QueryError> {
        const TABLE: &str = "agent_runs";
        let status = row.status.unwrap_or_default();
        let waiting_for: BTreeMap<String, Waits> = match row.waiting_for {
            Some(waits) => json(TABLE, waits)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            id: RunId::new(row.id),
            session_id: SessionId::new(row.session_id),
            previous_run_id: row.previous_run_id.map(RunId::new),
            user_id: row.user_id,
            agent: row.agent,
            agent_version: row.agent_version,
            model: row.model,
            tools: json(TABLE, row.tools)?,
            status: (status.parse()).map_err(|_| QueryError::Unreadable {
                table: TABLE,
                what: status,
            })?,
            queue_position: row.queue_position.map(unsigned),
            started_at: timestamp(row.started_at),
            completed_at: row.completed_at.map(timestamp),
            cost: Amounts {
                tokens: unsigned(row.tokens),
                cost_usd_micros: unsigned(row.cost_usd_micros),
                time_ms: unsigned(row.time_ms),
                ..Amounts::default()
            },
            parent_run_id: row.parent_run_id.map(RunId::new),
            waiting_for: waiting_for.into_values().collect(),
            budget: row.budget.map(|budget| json(TABLE, budget)).transpose()?,
            turns: unsigned32(row.turns),
            max_turns: unsigned32(row.max_turns),
            input: body(row.input, row.input_ref).unwrap_or_default(),
            output: body(row.output, row.output_ref),
            truncated: row.truncated.unwrap_or(false),
            finish: row.finish,
            error_code: row.error_code,
            error_message: row.error_message,
            trace_id: row.trace_id,
            metadata: row
                .metadata
                .unwrap_or_else(|| Value::Object(Default::default())),
            first_seq: unsigned(row.first_seq),
            last_seq: unsigned(row.last_seq),
        })
    }
}

impl Projections {
    /// One run with its whole input and output.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn run(&self, tenant: &Tenant, id: RunId) -> Result<Option<RunRow>, QueryError> {
        let row = sqlx::query_as!(
            Record,
            "SELECT id, session_id, previous_run_id, user_id, agent, agent_version, model, tools,
                    status, started_at, completed_at, tokens, time_ms, cost_usd_micros, turns,
                    max_turns, budget, input, input_ref, output, output_ref, false AS truncated,
                    finish, error_code, error_message, trace_id, metadata, first_seq, last_seq,
                    parent_run_id, waiting_for,
                    CASE WHEN status = 'queued' THEN (
                        SELECT count(*) FROM agent_runs q
                        WHERE q.tenant = r.tenant AND q.session_id = r.session_id
                          AND q.status = 'queued' AND q.queue_seq <= r.queue_seq)
                    END AS queue_position
             FROM agent_runs r WHERE tenant = $1 AND id = $2",
            tenant.as_str(),
            id.uuid(),
        )
        .fetch_optional(&self.read)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// Runs, the newest first; long texts are cut, and `truncated` says so.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn runs(
        &self,
        tenant: &Tenant,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunRow>, QueryError> {
        let rows = sqlx::query_as!(
            Record,
            "SELECT id, session_id, previous_run_id, user_id, agent, agent_version, model, tools,
                    status, started_at, completed_at, tokens, time_ms, cost_usd_micros, turns,
                    max_turns, budget, left(input, $9) AS input, input_ref,
                    left(output, $9) AS output, output_ref,
                    coalesce(length(input) > $9, false) OR coalesce(length(output) > $9, false)
                        AS truncated,
                    finish, error_code, error_message, trace_id, metadata, first_seq, last_seq,
                    parent_run_id, waiting_for,
                    CASE WHEN status = 'queued' THEN (
                        SELECT count(*) FROM agent_runs q
                        WHERE q.tenant = r.tenant AND q.session_id = r.session_id
                          AND q.status = 'queued' AND q.queue_seq <= r.queue_seq)
                    END AS queue_position
             FROM agent_runs r
             WHERE tenant = $1 AND first_seq < $2
               AND ($3::uuid IS NULL OR session_id = $3)
               AND ($4::text IS NULL OR status = $4)
               AND ($5::text IS NULL OR agent = $5)
               AND ($6::text IS NULL OR user_id = $6)
               AND ($7::timestamptz IS NULL OR started_at >= $7)
               AND ($8::timestamptz IS NULL OR started_at < $8)
             ORDER BY first_seq DESC LIMIT $10",
            tenant.as_str(),
            page.before().seq,
            filter.session.map(SessionId::uuid),
            filter.status.map(RunStatus::as_str),
            filter.agent.as_deref().map(text::name),
            filter.user.as_deref().map(text::name),
            filter.since.map(Timestamp::to_datetime),
            filter.until.map(Timestamp::to_datetime),
            PREVIEW_CHARS,
            page.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let rows = rows
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<Vec<RunRow>, _>>()?;
        Ok(Page::cut(rows, page, |row| Cursor {
            seq: row.first_seq.cast_signed(),
            position: 0,
        }))
    }

    /// The runs of a conversation, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn session_runs(
        &self,
        tenant: &Tenant,
        session: SessionId,
        page: &PageRequest,
    ) -> Result<Page<RunRow>, QueryError> {
        let filter = RunFilter {
            session: Some(session),
            ..RunFilter::default()
        };
        self.runs(tenant, &filter, page).await
    }
}
