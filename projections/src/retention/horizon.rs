//! Horizons: the sequence that an age is, and where they are kept.

use async_nats::jetstream;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::fill::FillError;
use crate::query::unsigned;
use crate::{Projections, applied, ids, text};

/// What is gone from the tables: everything before these sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Horizons {
    pub(crate) runs: u64,
    pub(crate) calls: u64,
    pub(crate) audit: u64,
}

impl Horizons {
    pub(crate) async fn read(db: &mut PgConnection) -> sqlx::Result<Self> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, seq FROM retention")
            .fetch_all(db)
            .await?;
        let of = |wanted: &str| {
            let row = rows.iter().find(|(name, _)| name == wanted);
            row.map_or(0, |(_, seq)| unsigned(*seq))
        };
        Ok(Self {
            runs: of("runs"),
            calls: of("calls"),
            audit: of("audit"),
        })
    }

    /// Writes them down, and with the audit's the last entry of each chain that is gone: both at once,
    /// so that a chain is never without its beginning.
    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let mut tx = db.begin().await?;
        for (name, seq) in [
            ("runs", self.runs),
            ("calls", self.calls),
            ("audit", self.audit),
        ] {
            sqlx::query(
                "INSERT INTO retention VALUES ($1, $2, now()) ON CONFLICT (name) DO UPDATE
                 SET seq = excluded.seq, updated_at = now() WHERE retention.seq < excluded.seq",
            )
            .bind(name)
            .bind(text::seq(seq))
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "INSERT INTO audit_anchors (tenant, number, seq, position, hash)
             SELECT h.tenant, e.number, e.seq,
                 ('x' || right(replace(e.id::text, '-', ''), 8))::bit(32)::int, e.hash
             FROM audit_heads h CROSS JOIN LATERAL (
                 SELECT * FROM audit_logs a WHERE a.tenant = h.tenant AND a.id < $1
                 ORDER BY a.id DESC LIMIT 1
             ) e
             ON CONFLICT (tenant) DO UPDATE SET number = excluded.number, seq = excluded.seq,
                 position = excluded.position, hash = excluded.hash
             WHERE audit_anchors.number < excluded.number",
        )
        .bind(ids::of_position(self.audit, 0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

/// The first sequence that was recorded at this time or later, as far as the tables have come. Found
/// by halving: no message is ever deleted from the log.
pub(super) async fn at(
    projections: &Projections,
    js: &jetstream::Context,
    stream: &str,
    time: OffsetDateTime,
) -> Result<u64, FillError> {
    let log = |error: async_nats::Error| FillError::Log(error);
    let stream = js.get_stream(stream).await.map_err(|e| log(e.into()))?;
    let state = &stream.cached_info().state;
    let (mut low, mut high) = (state.first_sequence, state.last_sequence + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let message = stream.get_raw_message(middle).await;
        match message.map_err(|e| log(e.into()))?.time < time {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    let applied = applied::read(projections.pool()).await?;
    Ok(low.min(applied))
}

/// How far audit entries may go: up to the first, of any tenant, that is not archived.
pub(super) async fn archived(db: &mut PgConnection, wanted: u64) -> sqlx::Result<u64> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT min(first.seq) FROM audit_heads h
         LEFT JOIN audit_archives d ON d.tenant = h.tenant
         CROSS JOIN LATERAL (
             SELECT a.seq FROM audit_logs a
             WHERE a.tenant = h.tenant AND (d.tenant IS NULL
                 OR a.id > (lpad(to_hex(d.seq), 12, '0') || '80008000'
                            || lpad('', 4, '0') || lpad(to_hex(d.position), 8, '0'))::uuid)
             ORDER BY a.id LIMIT 1
         ) first",
    )
    .fetch_one(db)
    .await?;
    Ok(first.map_or(wanted, |first| wanted.min(unsigned(first))))
}
