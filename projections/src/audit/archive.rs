//! The chain outside of the tables: entries that are read back or about to be kept elsewhere are walked
//! as those in the table are, and how far a chain is archived is written down, so that retention takes
//! away nothing that nobody else has.

use time::OffsetDateTime;

use super::entry::AuditRow;
use super::verify::AuditHead;
use super::walk::{Misfit, Walk};
use crate::query::QueryError;
use crate::{Projections, text};

/// A chain that does not go on as it should.
#[derive(Debug, thiserror::Error)]
pub enum ChainGap {
    /// Entries are missing.
    #[error("entry {found} comes where entry {wanted} should be")]
    Missing {
        /// The number that should be here.
        wanted: u64,
        /// The number that is.
        found: u64,
    },
    /// An entry is not what was recorded, or not after what was before it.
    #[error("entry {0} is not what was recorded")]
    Changed(u64),
}

/// One tenant's chain, entry by entry.
#[derive(Clone, Debug)]
pub struct AuditChain(Walk);

impl Default for AuditChain {
    fn default() -> Self {
        Self(Walk::START)
    }
}

impl AuditChain {
    /// A chain of which this entry is the last that somebody has.
    pub fn after(row: &AuditRow) -> Self {
        Self(Walk {
            entries: row.number,
            last: (row.seq, row.position),
            hash: row.hash,
        })
    }

    /// Takes the next entry in.
    ///
    /// # Errors
    /// [`ChainGap`]: it is not the next one.
    pub fn take(&mut self, row: &AuditRow) -> Result<(), ChainGap> {
        let wanted = self.0.next();
        self.0.take(row).map_err(|misfit| match misfit {
            Misfit::Ahead | Misfit::Behind => ChainGap::Missing {
                wanted,
                found: row.number,
            },
            Misfit::Content | Misfit::Before => ChainGap::Changed(row.number),
        })
    }

    /// Sequence and position of the last entry; none before the first.
    pub fn last(&self) -> Option<(u64, u32)> {
        (self.0.entries > 0).then_some(self.0.last)
    }

    /// Where it ends.
    pub fn head(&self, tenant: &str) -> AuditHead {
        AuditHead {
            tenant: tenant.to_owned(),
            number: self.0.entries,
            seq: self.0.last.0,
            position: self.0.last.1,
            hash: self.0.hash,
        }
    }
}

impl Projections {
    /// Writes down that a tenant's chain is archived up to here; never back.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn note_archived(&self, head: &AuditHead) -> Result<(), QueryError> {
        sqlx::query(
            "INSERT INTO audit_archives VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (tenant) DO UPDATE SET number = excluded.number, seq = excluded.seq,
                 position = excluded.position, hash = excluded.hash,
                 archived_at = excluded.archived_at
             WHERE audit_archives.number < excluded.number",
        )
        .bind(&head.tenant)
        .bind(text::seq(head.number))
        .bind(text::seq(head.seq))
        .bind(text::small(u64::from(head.position)))
        .bind(head.hash.to_vec())
        .bind(OffsetDateTime::now_utc())
        .execute(self.pool())
        .await?;
        Ok(())
    }
}
