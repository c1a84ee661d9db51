//! Conversations: one by id, lists with the newest first, and what was said.

use nexus_events::command::Budget;
use nexus_events::{RunId, SessionId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, Page, PageRequest, QueryError, json, timestamp, unsigned, unsigned32};
use crate::{Projections, text};

/// One conversation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SessionRow {
    /// The session.
    pub id: SessionId,
    /// Who opened it.
    pub user_id: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When a run joined it last, or it was closed.
    pub updated_at: Timestamp,
    /// `active` or `closed`.
    pub status: String,
    /// What all its runs together may use; an absent unit is unlimited.
    pub budget: Budget,
    /// What policy is told of it.
    pub policy_context: Option<Value>,
    /// The caller's own labels.
    pub metadata: Value,
    /// The run that joined last.
    pub last_run_id: Option<RunId>,
    /// Sequence of its first commit.
    pub first_seq: u64,
    /// Sequence of the commit that last changed it.
    pub seq: u64,
}

/// Which sessions; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// `active` or `closed`.
    pub status: Option<String>,
    /// Opened by this user.
    pub user: Option<String>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MessageRow {
    /// The message.
    pub id: Uuid,
    /// The conversation.
    pub session_id: SessionId,
    /// The run in which it was said.
    pub run_id: RunId,
    /// The turn; none for what a person said.
    pub turn: Option<u32>,
    /// `user`, `assistant`, `system` or `tool`.
    pub role: String,
    /// The text; empty where `metadata.content` is `{"object","bytes"}`.
    pub content: String,
    /// Tokens as the provider counted an answer; 0 where nobody counted.
    pub tokens: u32,
    /// Its run was rolled back: it is no part of the conversation any more.
    pub rolled_back: bool,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// `tool_calls` of an answer, `call_id` of a tool's result, `error: true` where that is an
    /// error, `signal: true` where it was said to a running run.
    pub metadata: Value,
    /// Sequence of the commit that recorded it.
    pub seq: u64,
    /// Its place in that commit.
    pub position: u32,
}

struct Record {
    id: Uuid,
    user_id: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    status: String,
    budget: Value,
    policy_context: Option<Value>,
    metadata: Option<Value>,
    last_run_id: Option<Uuid>,
    first_seq: i64,
    seq: i64,
}

impl TryFrom<Record> for SessionRow {
    type Error = QueryError;

    fn try_from(row: Record) -> Result<Self, QueryError> {
        Ok(Self {
            id: SessionId::new(row.id),
            user_id: row.user_id,
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.updated_at),
            status: row.status,
            budget: json("sessions", row.budget)?,
            policy_context: row.policy_context,
            metadata: row
                .metadata
                .unwrap_or_else(|| Value::Object(Default::default())),
            last_run_id: row.last_run_id.map(RunId::new),
            first_seq: unsigned(row.first_seq),
            seq: unsigned(row.seq),
        })
    }
}

impl Projections {
    /// One conversation.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn session(
        &self,
        tenant: &Tenant,
        id: SessionId,
    ) -> Result<Option<SessionRow>, QueryError> {
        let row = sqlx::query_as!(
            Record,
            "SELECT id, user_id, created_at, updated_at, status, budget, policy_context, metadata,
                    last_run_id, first_seq, seq
             FROM sessions WHERE tenant = $1 AND id = $2",
            tenant.as_str(),
            id.uuid(),
        )
        .fetch_optional(&self.read)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// Conversations, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn sessions(
        &self,
        tenant: &Tenant,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<Page<SessionRow>, QueryError> {
        let rows = sqlx::query_as!(
            Record,
            "SELECT id, user_id, created_at, updated_at, status, budget, policy_context, metadata,
                    last_run_id, first_seq, seq
             FROM sessions
             WHERE tenant = $1 AND first_seq < $2
               AND ($3::text IS NULL OR status = $3)
               AND ($4::text IS NULL OR user_id = $4)
             ORDER BY first_seq DESC LIMIT $5",
            tenant.as_str(),
            page.before().seq,
            filter.status.as_deref().map(text::name),
            filter.user.as_deref().map(text::name),
            page.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let rows = rows.into_iter().map(TryInto::try_into);
        let rows = rows.collect::<Result<Vec<SessionRow>, _>>()?;
        Ok(Page::cut(rows, page, |row| Cursor {
            seq: row.first_seq.cast_signed(),
            position: 0,
        }))
    }

    /// What was said in a conversation, the oldest first; `rolled_back`: with what was said in runs
    /// whose place others took.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn messages(
        &self,
        tenant: &Tenant,
        session: SessionId,
        rolled_back: bool,
        page: &PageRequest,
    ) -> Result<Page<MessageRow>, QueryError> {
        let after = page.after();
        let rows = sqlx::query!(
            "SELECT m.id, m.session_id, run_id, turn, role, content, m.tokens, created_at,
                    m.metadata, m.seq, position, coalesce(r.rolled_back, false) AS \"rolled_back!\"
             FROM messages m LEFT JOIN agent_runs r ON r.id = m.run_id AND r.tenant = m.tenant
             WHERE m.tenant = $1 AND m.session_id = $2
               AND (m.seq, position) > ($3::bigint, $4::integer)
               AND ($6 OR NOT coalesce(r.rolled_back, false))
             ORDER BY m.seq, position LIMIT $5",
            tenant.as_str(),
            session.uuid(),
            after.seq,
            after.position,
            page.fetch(),
            rolled_back,
        )
        .fetch_all(&self.read)
        .await?;
        let rows = rows.into_iter().map(|row| MessageRow {
            id: row.id,
            session_id: SessionId::new(row.session_id),
            run_id: RunId::new(row.run_id),
            turn: row.turn.map(unsigned32),
            role: row.role,
            content: row.content,
            tokens: unsigned32(row.tokens),
            rolled_back: row.rolled_back,
            created_at: timestamp(row.created_at),
            metadata: row
                .metadata
                .unwrap_or_else(|| Value::Object(Default::default())),
            seq: unsigned(row.seq),
            position: unsigned32(row.position),
        });
        Ok(Page::cut(rows.collect(), page, |row| Cursor {
            seq: row.seq.cast_signed(),
            position: row.position.cast_signed(),
        }))
    }
}
