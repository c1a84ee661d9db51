//! `runs_in_flight`: the runs that the ledger counts among those in flight, and where. One that ends
//! is found by nothing but its id, so that the projector keeps them as it keeps reservations.

use std::collections::HashMap;

use nexus_events::ledger::Scope;
use nexus_events::{RunId, Tenant, Timestamp};
use sqlx::PgConnection;

use crate::fold::col;
use crate::query::{timestamp, unsigned};
use crate::text;

/// A run in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Where it counts.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) since: Timestamp,
    pub(crate) seq: u64,
}

type Key = (Tenant, RunId);

/// All of them, and what changed since they were last written.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    runs: HashMap<Key, Flight>,
    /// False where the table has no row of it yet.
    changed: HashMap<Key, bool>,
}

impl Flights {
    pub(crate) fn get(&self, tenant: &Tenant, run: RunId) -> Option<&Flight> {
        self.runs.get(&(tenant.clone(), run))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Flight)> {
        self.runs.iter()
    }

    pub(crate) fn begin(&mut self, tenant: &Tenant, run: RunId, flight: Flight) {
        let key = (tenant.clone(), run);
        self.changed.entry(key.clone()).or_insert(false);
        self.runs.insert(key, flight);
    }

    pub(crate) fn end(&mut self, tenant: &Tenant, run: RunId) -> Option<Flight> {
        let key = (tenant.clone(), run);
        let flight = self.runs.remove(&key)?;
        self.changed.entry(key).or_insert(true);
        Some(flight)
    }

    /// Reads all of them.
    pub(crate) async fn load(db: &mut PgConnection) -> sqlx::Result<Self> {
        let rows = sqlx::query!("SELECT tenant, run_id, scopes, since, seq FROM runs_in_flight")
            .fetch_all(db)
            .await?;
        let mut all = Self::default();
        for row in rows {
            let tenant = row
                .tenant
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let flight = Flight {
                scopes: serde_json::from_value(row.scopes)
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
                since: timestamp(row.since),
                seq: unsigned(row.seq),
            };
            all.runs.insert((tenant, RunId::new(row.run_id)), flight);
        }
        Ok(all)
    }

    /// Writes what changed. A run that began and ended since the last time is never written.
    pub(crate) async fn write(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        let mut gone: Vec<&Key> = Vec::new();
        let mut rows: Vec<(&Key, &Flight)> = Vec::new();
        for (key, in_table) in &changed {
            match self.runs.get(key) {
                Some(flight) => rows.push((key, flight)),
                None if *in_table => gone.push(key),
                None => {}
            }
        }
        delete(db, &gone).await?;
        upsert(db, &rows).await
    }
}

async fn delete(db: &mut PgConnection, gone: &[&Key]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let gone = gone.iter().copied();
    sqlx::query!(
        "DELETE FROM runs_in_flight r USING UNNEST($1::text[], $2::uuid[]) AS u(tenant, run_id)
         WHERE r.tenant = u.tenant AND r.run_id = u.run_id",
        col(gone.clone(), |(tenant, _)| tenant.as_str()) as _,
        &col(gone, |(_, run)| run.uuid()),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn upsert(db: &mut PgConnection, rows: &[(&Key, &Flight)]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO runs_in_flight (tenant, run_id, scopes, since, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::jsonb[], $4::timestamptz[], $5::int8[])
         ON CONFLICT (tenant, run_id) DO UPDATE SET
             scopes = excluded.scopes, since = excluded.since, seq = excluded.seq
         WHERE runs_in_flight.seq < excluded.seq",
        col(rows, |((tenant, _), _)| tenant.as_str()) as _,
        &col(rows, |((_, run), _)| run.uuid()),
        &col(rows, |(_, flight)| text::json(&flight.scopes)),
        &col(rows, |(_, flight)| text::at(flight.since)),
        &col(rows, |(_, flight)| text::seq(flight.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}
