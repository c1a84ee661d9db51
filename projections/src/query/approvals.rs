//! What people are asked, and what they answered.

use std::str::FromStr;

use nexus_events::run::PolicyPoint;
use nexus_events::{ApprovalId, RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Cursor, Page, PageRequest, QueryError, WaitingFor, json, timestamp, unsigned, unsigned32,
};
use crate::{Projections, text};

/// How far a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// It waits for an answer.
    Pending,
    /// Enough people agreed.
    Approved,
    /// Somebody did not.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The run ended before, or what was approved has changed since.
    Void,
}

impl ApprovalStatus {
    const ALL: [Self; 5] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Void,
    ];

    /// As in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

/// A status that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status is pending, approved, denied, expired or void")]
pub struct InvalidApprovalStatus;

impl FromStr for ApprovalStatus {
    type Err = InvalidApprovalStatus;

    fn from_str(text: &str) -> Result<Self, InvalidApprovalStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(InvalidApprovalStatus)
    }
}

/// A question to people.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ApprovalRow {
    /// The question.
    pub id: ApprovalId,
    /// How far it is.
    pub status: ApprovalStatus,
    /// The run that waits.
    pub run_id: RunId,
    /// Before what: `run.start`, `llm.call` or `tool.call`.
    pub point: String,
    /// In which turn; 0 before the first.
    pub turn: u32,
    /// For which tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What it is to be called with; absent where that is too long to be asked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Digest of the run, the step and its arguments: an answer is good for exactly this.
    pub subject: String,
    /// Digest of the bundle that asked.
    pub bundle: String,
    /// Why it asked.
    pub reasons: Vec<String>,
    /// Who started the run, and may not answer.
    pub requester: String,
    /// Roles of which an approver must have one.
    pub roles: Vec<String>,
    /// How many different people have to agree.
    pub count: u32,
    /// What they answered, in order.
    pub answers: Vec<ApprovalAnswer>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When the answer is no by itself.
    pub expires_at: Timestamp,
    /// When further roles were let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalated_at: Option<Timestamp>,
    /// When it was no longer open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Sequence of the commit that asked.
    pub seq: u64,
    /// The place of the question in that commit.
    #[serde(skip)]
    position: i32,
}

/// What one person answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalAnswer {
    /// Who.
    pub user: String,
    /// `approve` or `deny`.
    pub answer: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Waits {
    /// For people to agree.
    Approval(WaitingForApproval),
    /// For somebody to say what became of a call that is in doubt.
    Word(WaitingForWord),
    /// For budget.
    Budget(WaitingFor),
}

/// A tool call that is in doubt: it may have taken effect, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingForWord {
    /// The turn.
    pub turn: u32,
    /// The call.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Which start is in doubt, from 1.
    pub attempt: u32,
    /// What is known.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A question that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingForApproval {
    /// What people approve or deny.
    pub approval_id: ApprovalId,
    /// Which step waits.
    pub point: PolicyPoint,
    /// Since when.
    pub since: Timestamp,
    /// When the answer is no by itself.
    pub expires_at: Timestamp,
}

/// Which questions; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// As far as this.
    pub status: Option<ApprovalStatus>,
    /// Of this run.
    pub run: Option<RunId>,
    /// That this role may answer.
    pub role: Option<String>,
}

struct Record {
    id: Uuid,
    status: String,
    run_id: Uuid,
    point: String,
    turn: i32,
    call_id: Option<String>,
    tool: Option<String>,
    arguments: Option<Value>,
    subject: String,
    bundle: String,
    reasons: Value,
    requester: String,
    roles: Value,
    count: i32,
    answers: Value,
    requested_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    escalated_at: Option<OffsetDateTime>,
    decided_at: Option<OffsetDateTime>,
    first_seq: i64,
    position: i32,
}

impl TryFrom<Record> for ApprovalRow {
    type Error = QueryError;

    fn try_from(row: Record) -> Result<Self, QueryError> {
        const TABLE: &str = "approvals";
        Ok(Self {
            id: ApprovalId::new(row.id),
            status: json(TABLE, Value::String(row.status))?,
            run_id: RunId::new(row.run_id),
            point: row.point,
            turn: unsigned32(row.turn),
            call_id: row.call_id,
            tool: row.tool,
            arguments: row.arguments,
            subject: row.subject,
            bundle: row.bundle,
            reasons: json(TABLE, row.reasons)?,
            requester: row.requester,
            roles: json(TABLE, row.roles)?,
            count: unsigned32(row.count),
            answers: json(TABLE, row.answers)?,
            requested_at: timestamp(row.requested_at),
            expires_at: timestamp(row.expires_at),
            escalated_at: row.escalated_at.map(timestamp),
            decided_at: row.decided_at.map(timestamp),
            seq: unsigned(row.first_seq),
            position: row.position,
        })
    }
}

impl Projections {
    /// One question.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn approval(
        &self,
        tenant: &Tenant,
        id: ApprovalId,
    ) -> Result<Option<ApprovalRow>, QueryError> {
        let row = sqlx::query_as!(
            Record,
            "SELECT id, status, run_id, point, turn, call_id, tool, arguments, subject, bundle,
                    reasons, requester, roles, count, answers, requested_at, expires_at,
                    escalated_at, decided_at, first_seq, position
             FROM approvals WHERE tenant = $1 AND id = $2",
            tenant.as_str(),
            id.uuid(),
        )
        .fetch_optional(&self.read)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// Questions, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn approvals(
        &self,
        tenant: &Tenant,
        filter: &ApprovalFilter,
        page: &PageRequest,
    ) -> Result<Page<ApprovalRow>, QueryError> {
        let before = page.before();
        let rows = sqlx::query_as!(
            Record,
            "SELECT id, status, run_id, point, turn, call_id, tool, arguments, subject, bundle,
                    reasons, requester, roles, count, answers, requested_at, expires_at,
                    escalated_at, decided_at, first_seq, position
             FROM approvals
             WHERE tenant = $1 AND (first_seq, position) < ($2, $3::int4)
               AND ($4::text IS NULL OR status = $4)
               AND ($5::uuid IS NULL OR run_id = $5)
               AND ($6::text IS NULL OR roles @> to_jsonb($6::text))
             ORDER BY first_seq DESC, position DESC LIMIT $7",
            tenant.as_str(),
            before.seq,
            before.position,
            filter.status.map(ApprovalStatus::as_str),
            filter.run.map(RunId::uuid),
            filter.role.as_deref().map(text::owned),
            page.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let rows = rows
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<Vec<ApprovalRow>, _>>()?;
        Ok(Page::cut(rows, page, |row| Cursor {
            seq: row.seq.cast_signed(),
            position: row.position,
        }))
    }
}
