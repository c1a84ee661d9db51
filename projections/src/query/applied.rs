//! Read your writes: how far the projection is, and waiting for it.

use std::time::Duration;

use super::QueryError;
use crate::Projections;

impl Projections {
    /// Sequence that the read models have applied.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn applied_seq(&self) -> Result<u64, QueryError> {
        Ok(crate::applied::read(&self.read).await?)
    }

    /// Waits until the read models have applied `min_seq`; gives what they have applied then. The
    /// projector may run in another process.
    ///
    /// # Errors
    /// [`QueryError::Lagging`] after `timeout`; [`QueryError::Database`] while the database is away.
    pub async fn wait_for_seq(&self, min_seq: u64, timeout: Duration) -> Result<u64, QueryError> {
        self.applied.wait(min_seq, timeout).await
    }
}
