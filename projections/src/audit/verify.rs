//! The chains in the tables, verified: every entry is read in order, a page at a time, and the first
//! that does not fit is named. It needs nothing but the tables and changes nothing; a projector may
//! be at work all the while.
//!
//! One query with a window function was the alternative. It would hash in the database, which is
//! what must not be trusted, and say nothing for as long as it takes.

use nexus_events::Tenant;
use serde::Serialize;

use super::entry::{AuditHash, AuditRow};
use super::walk::{Misfit, Walk};
use crate::query::{AuditFilter, QueryError, unsigned, unsigned32};
use crate::{Projections, ids};

/// Entries that are read at once.
const PAGE: u32 = 500;

/// Where a tenant's chain ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditHead {
    /// Whose.
    pub tenant: String,
    /// How many entries it has.
    pub number: u64,
    /// Sequence of the last one.
    pub seq: u64,
    /// Its place in its commit.
    pub position: u32,
    /// Its hash, and so that of all entries before it.
    pub hash: AuditHash,
}

/// What was done to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An entry is not what was recorded.
    Changed,
    /// Entries are not there any more.
    Removed,
    /// Entries are not in the order in which they were recorded.
    Reordered,
    /// There is an entry that was never recorded.
    Inserted,
}

/// The first entry that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainBreak {
    /// What is wrong.
    pub fault: Fault,
    /// Sequence of the entry; for what was removed, of the first entry after it, or of the last one
    /// where nothing is after it.
    pub seq: u64,
    /// Its place in its commit.
    pub position: u32,
    /// Number of the entry that should be here.
    pub number: u64,
    /// In words.
    pub detail: String,
}

/// What was found about a tenant's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Whose.
    pub tenant: String,
    /// Entries that are as they were recorded, from the first one on, with those of before the table.
    pub entries: u64,
    /// Entries that left the table by retention. They are in the archive, which is verified apart.
    pub archived: u64,
    /// Where the chain ends; none where it has no end that can be trusted.
    pub head: Option<AuditHead>,
    /// The first entry that does not fit.
    pub broken: Option<ChainBreak>,
    /// Of the hashes that were asked for, those that the chain passes through.
    pub passed: Vec<(u64, AuditHash)>,
}

impl Projections {
    /// Where the chains end, by tenant.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn audit_heads(&self, tenant: Option<&Tenant>) -> Result<Vec<AuditHead>, QueryError> {
        let rows = sqlx::query!(
            "SELECT tenant, number, seq, position, hash FROM audit_heads
             WHERE $1::text IS NULL OR tenant = $1 ORDER BY tenant",
            tenant.map(Tenant::as_str),
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(AuditHead {
                    tenant: row.tenant,
                    number: unsigned(row.number),
                    seq: unsigned(row.seq),
                    position: unsigned32(row.position),
                    hash: read_hash(&row.hash)?,
                })
            })
            .collect()
    }

    /// Tenants that have entries or the end of a chain.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn audit_tenants(&self) -> Result<Vec<String>, QueryError> {
        // Each next tenant is one look into the index.
        let rows = sqlx::query_scalar!(
            r#"WITH RECURSIVE t(tenant) AS (
                 (SELECT tenant FROM audit_logs ORDER BY tenant LIMIT 1)
                 UNION ALL
                 SELECT (SELECT a.tenant FROM audit_logs a WHERE a.tenant > t.tenant
                         ORDER BY a.tenant LIMIT 1)
                 FROM t WHERE t.tenant IS NOT NULL
               )
               SELECT tenant AS "tenant!" FROM t WHERE tenant IS NOT NULL
               UNION SELECT tenant FROM audit_heads ORDER BY 1"#
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows)
    }

    /// Walks a tenant's chain from its first entry to its end, and says which of the hashes in
    /// `heads` (by the sequence of their entry) it passes through. `progress` is told the number of
    /// entries that fit so far.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn verify_audit(
        &self,
        tenant: &str,
        heads: &[(u64, AuditHash)],
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ChainReport, QueryError> {
        let mut report = ChainReport {
            tenant: tenant.to_owned(),
            entries: 0,
            archived: 0,
            head: None,
            broken: None,
            passed: vec![],
        };
        let Ok(name) = tenant.parse::<Tenant>() else {
            report.broken = Some(ChainBreak {
                fault: Fault::Inserted,
                seq: 0,
                position: 0,
                number: 1,
                detail: "no tenant can have this name".to_owned(),
            });
            return Ok(report);
        };
        let mut walk = self.anchor(&name).await?.unwrap_or(Walk::START);
        report.archived = walk.entries;
        if heads.contains(&(walk.last.0, walk.hash)) {
            report.passed.push((walk.last.0, walk.hash));
        }
        loop {
            let broken = self
                .walk(&name, &mut walk, heads, &mut report, progress)
                .await?;
            report.entries = walk.entries;
            if broken.is_some() {
                report.broken = broken;
                return Ok(report);
            }
            // Read after the entries: it is never behind them, unless by another hand.
            let head = self.audit_heads(Some(&name)).await?.pop();
            let more = head.as_ref().is_some_and(|head| head.number > walk.entries);
            if more && self.has_after(&name, &walk).await? {
                continue;
            }
            report.broken = end(&walk, head.as_ref());
            report.head = head.filter(|_| report.broken.is_none());
            return Ok(report);
        }
    }

    /// Walks as far as there are entries, or to the first that does not fit.
    async fn walk(
        &self,
        tenant: &Tenant,
        walk: &mut Walk,
        heads: &[(u64, AuditHash)],
        report: &mut ChainReport,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Option<ChainBreak>, QueryError> {
        loop {
            let after = (walk.entries > 0).then_some(walk.last);
            let page = self
                .audit_after(tenant, &AuditFilter::default(), after, PAGE)
                .await?;
            let last = page.len() < PAGE as usize;
            for row in &page {
                if let Err(misfit) = walk.take(row) {
                    return self.explain(walk, row, misfit).await.map(Some);
                }
                if heads.contains(&(row.seq, row.hash)) {
                    report.passed.push((row.seq, row.hash));
                }
            }
            progress(walk.entries);
            if last {
                return Ok(None);
            }
        }
    }

    /// Where a chain begins whose first entries have left the table.
    async fn anchor(&self, tenant: &Tenant) -> Result<Option<Walk>, QueryError> {
        let row: Option<(i64, i64, i32, Vec<u8>)> = sqlx::query_as(
            "SELECT number, seq, position, hash FROM audit_anchors WHERE tenant = $1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&self.read)
        .await?;
        let walk = |(number, seq, position, hash): (i64, i64, i32, Vec<u8>)| {
            Ok(Walk {
                entries: unsigned(number),
                last: (unsigned(seq), unsigned32(position)),
                hash: read_hash(&hash)?,
            })
        };
        row.map(walk).transpose()
    }

    async fn has_after(&self, tenant: &Tenant, walk: &Walk) -> Result<bool, QueryError> {
        let after = (walk.entries > 0).then_some(walk.last);
        let next = self
            .audit_after(tenant, &AuditFilter::default(), after, 1)
            .await?;
        Ok(!next.is_empty())
    }

    /// Says what was done, by where the entries are that were expected.
    async fn explain(
        &self,
        walk: &Walk,
        row: &AuditRow,
        misfit: Misfit,
    ) -> Result<ChainBreak, QueryError> {
        let next = walk.next();
        let broken = |fault, detail: String| ChainBreak {
            fault,
            seq: row.seq,
            position: row.position,
            number: next,
            detail,
        };
        // Its id is where it is now, whatever else was done to it.
        let (seq, position) = ids::position_of(row.id);
        let twins = self.places(&row.tenant, row.number).await?;
        if let Some(other) = twins.iter().find(|place| **place != (seq, position)) {
            let detail = format!(
                "two entries have the number {}: this one and the one at {}.{}",
                row.number, other.0, other.1
            );
            return Ok(broken(Fault::Inserted, detail));
        }
        // Read after the entry: the projector writes both at once.
        let head = self.audit_heads(Some(&row.tenant)).await?.pop();
        if let Some(end) = head.filter(|head| head.number < row.number) {
            let detail = format!("the chain ends with entry {}", end.number);
            return Ok(broken(Fault::Inserted, detail));
        }
        Ok(match misfit {
            Misfit::Content => {
                let detail = "its hash is not the hash of what it holds".to_owned();
                broken(Fault::Changed, detail)
            }
            // Nothing is before the first one, so that it is this one that was changed.
            Misfit::Before if walk.entries == 0 => {
                let detail = "the first entry of a chain follows nothing".to_owned();
                broken(Fault::Changed, detail)
            }
            Misfit::Before => ChainBreak {
                fault: Fault::Changed,
                seq: walk.last.0,
                position: walk.last.1,
                number: walk.entries,
                detail: format!(
                    "it was changed and hashed anew: the entry after it, at {}.{}, was recorded \
                     after another one",
                    row.seq, row.position
                ),
            },
            Misfit::Behind => {
                let detail = format!("it has the number {}", row.number);
                broken(Fault::Inserted, detail)
            }
            Misfit::Ahead => match self.places(&row.tenant, next).await?.first() {
                Some((seq, position)) => broken(
                    Fault::Reordered,
                    format!(
                        "entry {} is here, and entry {next} is at {seq}.{position}",
                        row.number
                    ),
                ),
                None => broken(Fault::Removed, missing(next, row.number - 1)),
            },
        })
    }

    /// Where the entries with a number are. It reads all of a tenant's: once, when something is
    /// wrong.
    async fn places(&self, tenant: &Tenant, number: u64) -> Result<Vec<(u64, u32)>, QueryError> {
        let rows = sqlx::query_scalar!(
            "SELECT id FROM audit_logs WHERE tenant = $1 AND number = $2 ORDER BY id LIMIT 3",
            tenant.as_str(),
            crate::text::seq(number),
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(ids::position_of).collect())
    }
}

/// Whether a chain ends where it should.
fn end(walk: &Walk, head: Option<&AuditHead>) -> Option<ChainBreak> {
    let broken = |fault, detail| {
        Some(ChainBreak {
            fault,
            seq: walk.last.0,
            position: walk.last.1,
            number: walk.next(),
            detail,
        })
    };
    let Some(head) = head else {
        return match walk.entries {
            0 => None,
            _ => broken(
                Fault::Removed,
                "the end of the chain is not recorded".to_owned(),
            ),
        };
    };
    match head.number.cmp(&walk.entries) {
        std::cmp::Ordering::Greater => {
            let mut removed = broken(Fault::Removed, missing(walk.next(), head.number));
            if let (0, Some(removed)) = (walk.entries, &mut removed) {
                (removed.seq, removed.position) = (head.seq, head.position);
            }
            removed
        }
        std::cmp::Ordering::Less => broken(
            Fault::Inserted,
            format!("the chain ends with entry {}", head.number),
        ),
        std::cmp::Ordering::Equal if head.hash != walk.hash => broken(
            Fault::Changed,
            "the chain ends with another hash: its last entry was changed and hashed anew"
                .to_owned(),
        ),
        std::cmp::Ordering::Equal => None,
    }
}

fn missing(from: u64, to: u64) -> String {
    match from == to {
        true => format!("entry {from} is missing"),
        false => format!("entries {from} to {to} are missing"),
    }
}

pub(crate) fn read_hash(bytes: &[u8]) -> Result<AuditHash, QueryError> {
    AuditHash::from_slice(bytes).ok_or_else(|| QueryError::Unreadable {
        table: "audit_logs",
        what: "a hash".to_owned(),
    })
}
