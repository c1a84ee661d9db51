//! What the read models answer. Every query takes the tenant and looks at nothing else; every list
//! is paged by a cursor that is a place in the log, so that a page stays where it was while new rows
//! arrive. Offsets would shift under the reader and cost more the further one goes.
//!
//! All of it is methods of [`Projections`](crate::Projections).

mod alerts;
mod applied;
mod approvals;
mod audit;
mod budgets;
mod calls;
mod keys;
mod policies;
mod reservations;
mod runs;
mod sessions;
mod spend;
mod tools;
mod whole;

pub use crate::audit::AuditRow;
pub use alerts::{Alert, AlertFilter, AlertKind, AlertRow};
pub use approvals::{
    ApprovalAnswer, ApprovalFilter, ApprovalRow, ApprovalStatus, InvalidApprovalStatus,
    WaitingForApproval, WaitingForWord, Waits,
};
pub use audit::AuditFilter;
pub use budgets::{BudgetCursor, BudgetPage, BudgetRow, BudgetStanding};
pub use calls::{LlmCallRow, ToolCallRow};
pub use keys::KeyRow;
pub use policies::{BundleRow, ShadowCounts};
pub use reservations::{
    Line, ReservationCursor, ReservationFilter, ReservationRow, ReservationStatus, WaitingFor,
};
pub use runs::{RunFilter, RunRow, RunStatus};
pub use sessions::{MessageRow, SessionFilter, SessionRow};
pub use spend::{
    Day, InvalidDay, SpendBy, SpendCursor, SpendFilter, SpendPage, SpendRow, SpendSums,
};
pub use tools::ToolRow;
pub use whole::WholeRun;
pub(crate) use whole::find as find_runs;

use std::fmt;
use std::str::FromStr;

use nexus_events::{Body, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

/// Rows that a page may have at most.
pub const MAX_LIMIT: u32 = 200;
/// Rows of a page when the caller names no number.
pub const DEFAULT_LIMIT: u32 = 50;

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The database is away or refuses.
    #[error("the read models cannot be read")]
    Database(#[from] sqlx::Error),
    /// A row holds what this program cannot read: it was written by a newer one.
    #[error("{table} holds {what} that this version cannot read")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The value.
        what: String,
    },
    /// The projection did not reach the sequence in time.
    #[error("the read models have applied sequence {applied}, and {wanted} was asked for")]
    Lagging {
        /// Sequence that is applied.
        applied: u64,
        /// Sequence that was asked for.
        wanted: u64,
    },
}

/// Which page is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows; [`DEFAULT_LIMIT`] when absent, [`MAX_LIMIT`] at most.
    pub limit: Option<u32>,
    /// Where the page before this one ended.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    pub(crate) fn rows(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize
    }

    /// One more row than the page has tells whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        self.rows() as i64 + 1
    }

    /// The cursor for lists with the newest first.
    pub(crate) fn before(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor {
            seq: i64::MAX,
            position: i32::MAX,
        })
    }

    /// The cursor for lists with the oldest first.
    pub(crate) fn after(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor {
            seq: -1,
            position: -1,
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Cuts what was fetched to the page, and names its end if there is more.
    pub(crate) fn cut(mut items: Vec<T>, page: &PageRequest, cursor: fn(&T) -> Cursor) -> Self {
        let more = items.len() > page.rows();
        items.truncate(page.rows());
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| cursor(last).to_string());
        Self { items, next_cursor }
    }
}

/// A place in the log: `<seq>.<position>`. Callers give back what they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) seq: i64,
    pub(crate) position: i32,
}

/// A cursor that no page gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a page gave")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.position)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (seq, position) = text.split_once('.').ok_or(InvalidCursor)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| InvalidCursor)?,
            position: position.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

pub(crate) fn timestamp(at: OffsetDateTime) -> Timestamp {
    let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Columns are signed; nothing that they hold is negative.
pub(crate) fn unsigned(value: i64) -> u64 {
    value.unsigned_abs()
}

pub(crate) fn unsigned32(value: i32) -> u32 {
    value.unsigned_abs()
}

/// A text, or where it is.
pub(crate) fn body(text: Option<String>, reference: Option<Value>) -> Option<Body> {
    match (text, reference) {
        (Some(text), _) => Some(Body::Inline(text)),
        (None, Some(reference)) => serde_json::from_value(reference).ok(),
        (None, None) => None,
    }
}

/// Reads a JSON column of a type of ours.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    value: Value,
) -> Result<T, QueryError> {
    serde_json::from_value(value).map_err(|error| QueryError::Unreadable {
        table,
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_wrote_and_nothing_else() {
        let cursor = Cursor {
            seq: 7,
            position: 2,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "a.b", "1.2.3", "7.", "99999999999999999999.1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }

    #[test]
    fn a_page_names_its_end_only_where_there_is_more() {
        let page = PageRequest {
            limit: Some(2),
            cursor: None,
        };
        let cursor = |seq: &i64| Cursor {
            seq: *seq,
            position: 0,
        };
        let cut = Page::cut(vec![9, 8, 7], &page, cursor);
        assert_eq!(
            (cut.items, cut.next_cursor.as_deref()),
            (vec![9, 8], Some("8.0"))
        );
        assert_eq!(Page::cut(vec![9, 8], &page, cursor).next_cursor, None);
        assert_eq!(
            PageRequest {
                limit: Some(9_999),
                cursor: None
            }
            .rows(),
            200
        );
    }
}
