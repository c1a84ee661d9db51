//! Reservations: what is held and by whom, and who waits for budget at which place of which line.

use std::fmt;
use std::str::FromStr;

use nexus_events::ledger::{Amounts, OnExhausted, Scope, Shortage, Unit, Window};
use nexus_events::{ReservationId, RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    InvalidCursor, MAX_LIMIT, Page, PageRequest, QueryError, json, timestamp, unsigned, unsigned32,
};
use crate::{Projections, text};

/// What has become of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// It is held.
    Held,
    /// It waits for budget, and holds nothing.
    Waiting,
    /// Nobody settled it in time; it holds nothing any more.
    Expired,
}

impl ReservationStatus {
    /// As in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Expired => "expired",
        }
    }
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReservationRow {
    /// The reservation: what is granted, refused or released.
    pub id: ReservationId,
    /// What has become of it.
    pub status: ReservationStatus,
    /// Whose; none where somebody outside of runs holds it.
    pub run_id: Option<RunId>,
    /// In which turn.
    pub turn: u32,
    /// For which tool call; for the model call where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// What is held.
    pub amounts: Amounts,
    /// Since when it is held, or waits.
    pub since: Timestamp,
    /// When it goes back by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Line>,
}

/// A place in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// Its place among those who wait for the same, from 1.
    pub place: u64,
    /// A person is asked; budget that returns by itself serves it too.
    pub asks_person: bool,
    /// What is too little, with the figures when it joined the line.
    #[serde(flatten)]
    pub shortage: Shortage,
}

/// What a run's call waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingFor {
    /// The turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// What a person grants or refuses.
    pub reservation_id: ReservationId,
    /// Since when.
    pub since: Timestamp,
    /// What is too little, with the figures when it began to wait.
    #[serde(flatten)]
    pub shortage: Shortage,
}

/// Which reservations; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    /// With this status.
    pub status: Option<ReservationStatus>,
    /// Of this run.
    pub run: Option<RunId>,
    /// At most this many; as in [`PageRequest`].
    pub limit: Option<u32>,
    /// Where the page before this one ended.
    pub after: Option<ReservationCursor>,
}

/// A place in the list of reservations: `<seq>.<position>.<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationCursor {
    seq: i64,
    position: i32,
    id: Uuid,
}

impl fmt::Display for ReservationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.seq, self.position, self.id)
    }
}

impl FromStr for ReservationCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(InvalidCursor);
        Ok(Self {
            seq: part()?.parse().map_err(|_| InvalidCursor)?,
            position: part()?.parse().map_err(|_| InvalidCursor)?,
            id: part()?.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

/// What the statement takes; an absent field does not matter.
#[derive(Default)]
struct Wanted {
    status: Option<ReservationStatus>,
    /// Counting in all of these scopes.
    counts_in: Option<Value>,
    /// Waiting in one of these lines.
    lines: Option<Vec<String>>,
    run: Option<Uuid>,
    id: Option<Uuid>,
    after: Option<ReservationCursor>,
    fetch: i64,
}

struct Record {
    id: Uuid,
    run_id: Option<Uuid>,
    turn: i32,
    call_id: Option<String>,
    model: Option<String>,
    status: String,
    scopes: Value,
    tokens: i64,
    cost_usd_micros: i64,
    time_ms: i64,
    tool_calls: i64,
    since: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    waits_for: Option<Value>,
    place: Option<i64>,
    order_seq: i64,
    order_position: i32,
}

impl Record {
    fn cursor(&self) -> ReservationCursor {
        ReservationCursor {
            seq: self.order_seq,
            position: self.order_position,
            id: self.id,
        }
    }
}

impl TryFrom<Record> for ReservationRow {
    type Error = QueryError;

    fn try_from(row: Record) -> Result<Self, QueryError> {
        const TABLE: &str = "reservations";
        let waits_for = match row.waits_for {
            Some(shortage) => {
                let shortage: Shortage = json(TABLE, shortage)?;
                Some(Line {
                    place: row.place.map_or(0, unsigned),
                    asks_person: shortage.on_exhausted == OnExhausted::Approve,
                    shortage,
                })
            }
            None => None,
        };
        Ok(Self {
            id: ReservationId::new(row.id),
            status: json(TABLE, Value::String(row.status))?,
            run_id: row.run_id.map(RunId::new),
            turn: unsigned32(row.turn),
            call_id: row.call_id,
            model: row.model,
            scopes: json(TABLE, row.scopes)?,
            amounts: Amounts {
                tokens: unsigned(row.tokens),
                cost_usd_micros: unsigned(row.cost_usd_micros),
                time_ms: unsigned(row.time_ms),
                tool_calls: unsigned(row.tool_calls),
                runs: 0,
            },
            since: timestamp(row.since),
            expires_at: row.expires_at.map(timestamp),
            waits_for,
        })
    }
}

impl Projections {
    /// Reservations, the oldest first: those who wait are in the order of their lines.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn reservations(
        &self,
        tenant: &Tenant,
        filter: &ReservationFilter,
    ) -> Result<Page<ReservationRow>, QueryError> {
        let size = PageRequest {
            limit: filter.limit,
            cursor: None,
        };
        let wanted = Wanted {
            status: filter.status,
            run: filter.run.map(RunId::uuid),
            after: filter.after,
            fetch: size.fetch(),
            ..Wanted::default()
        };
        let rows = self.select_reservations(tenant, wanted).await?;
        let more = rows.len() > size.rows();
        let last = rows.get(size.rows() - 1).filter(|_| more);
        let next_cursor = last.map(|last| last.cursor().to_string());
        let items = rows.into_iter().take(size.rows()).map(TryInto::try_into);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next_cursor,
        })
    }

    /// One reservation; none where it is settled, or never was.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn reservation(
        &self,
        tenant: &Tenant,
        id: ReservationId,
    ) -> Result<Option<ReservationRow>, QueryError> {
        let wanted = Wanted {
            id: Some(id.uuid()),
            fetch: 1,
            ..Wanted::default()
        };
        let rows = self.select_reservations(tenant, wanted).await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }

    /// What is held in a scope, and who waits for its limits.
    pub(super) async fn reservations_in(
        &self,
        tenant: &Tenant,
        scope: &Scope,
    ) -> Result<(Vec<ReservationRow>, Vec<ReservationRow>), QueryError> {
        let held = Wanted {
            status: Some(ReservationStatus::Held),
            counts_in: Some(Value::from(vec![text::json(scope)])),
            fetch: i64::from(MAX_LIMIT),
            ..Wanted::default()
        };
        let lines = Window::ALL
            .into_iter()
            .flat_map(|window| Unit::ALL.map(|unit| text::line(scope, window, unit)));
        let waiting = Wanted {
            status: Some(ReservationStatus::Waiting),
            lines: Some(lines.collect()),
            fetch: i64::from(MAX_LIMIT),
            ..Wanted::default()
        };
        let held = self.select_reservations(tenant, held).await?;
        let waiting = self.select_reservations(tenant, waiting).await?;
        let rows = |records: Vec<Record>| {
            let rows = records.into_iter().map(ReservationRow::try_from);
            rows.collect::<Result<_, _>>()
        };
        Ok((rows(held)?, rows(waiting)?))
    }

    async fn select_reservations(
        &self,
        tenant: &Tenant,
        wanted: Wanted,
    ) -> Result<Vec<Record>, QueryError> {
        let after = wanted.after;
        let rows = sqlx::query_as!(
            Record,
            r#"WITH lines AS (
                   SELECT id, row_number() OVER (
                       PARTITION BY line ORDER BY line_seq, line_position) AS place
                   FROM reservations
                   WHERE tenant = $1 AND status = 'waiting'
                     AND ($2::text IS NULL OR $2 = 'waiting')
                     AND ($4::text[] IS NULL OR line = ANY($4))
               )
               SELECT r.id, r.run_id, r.turn, r.call_id, r.model, r.status, r.scopes, r.tokens,
                      r.cost_usd_micros, r.time_ms, r.tool_calls, r.since, r.expires_at,
                      r.waits_for, l.place AS "place?",
                      coalesce(r.line_seq, r.seq) AS "order_seq!",
                      coalesce(r.line_position, 0) AS "order_position!"
               FROM reservations r LEFT JOIN lines l ON l.id = r.id
               WHERE r.tenant = $1
                 AND ($2::text IS NULL OR r.status = $2)
                 AND ($3::jsonb IS NULL OR r.scopes @> $3)
                 AND ($4::text[] IS NULL OR r.line = ANY($4))
                 AND ($5::uuid IS NULL OR r.run_id = $5)
                 AND ($6::uuid IS NULL OR r.id = $6)
                 AND ($7::int8 IS NULL OR
                      (coalesce(r.line_seq, r.seq), coalesce(r.line_position, 0), r.id)
                      > ($7, $8::int4, $9::uuid))
               ORDER BY coalesce(r.line_seq, r.seq), coalesce(r.line_position, 0), r.id
               LIMIT $10"#,
            tenant.as_str(),
            wanted.status.map(ReservationStatus::as_str),
            wanted.counts_in,
            wanted.lines.as_deref() as _,
            wanted.run,
            wanted.id,
            after.map(|after| after.seq),
            after.map(|after| after.position),
            after.map(|after| after.id),
            wanted.fetch,
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows)
    }
}
