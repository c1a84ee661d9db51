//! `reservations`: what is held now, and what expired and is not settled yet.
//!
//! The projector keeps them in memory too: a settlement names only the reservation, and the accounts
//! that it changes are found by the scopes of what was held. It is a cache: it is read from the
//! table after a restart, and thrown away whenever a transaction fails.

use std::collections::HashMap;

use nexus_events::ledger::{Amounts, BudgetReserved, Scope};
use nexus_events::{ReservationId, RunId, Tenant, Timestamp};
use sqlx::PgConnection;

use crate::fold::{At, col};
use crate::query::{amounts, timestamp, unsigned, unsigned32};
use crate::text;

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) run: RunId,
    pub(crate) turn: u32,
    pub(crate) expired: bool,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) amounts: Amounts,
    pub(crate) max_output_tokens: u64,
    pub(crate) since: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) seq: u64,
}

type Key = (Tenant, ReservationId);

/// Everything that is held, and what changed since it was last written.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: HashMap<Key, Held>,
    /// False where the table has no row of it yet.
    changed: HashMap<Key, bool>,
    by_scope: HashMap<(Tenant, Scope), Amounts>,
}

impl Reservations {
    /// A reservation that is held or expired.
    pub(crate) fn get(&self, tenant: &Tenant, id: ReservationId) -> Option<&Held> {
        self.held.get(&(tenant.clone(), id))
    }

    /// What is held in a scope.
    pub(crate) fn held_in(&self, tenant: &Tenant, scope: &Scope) -> Amounts {
        self.by_scope
            .get(&(tenant.clone(), scope.clone()))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn reserve(&mut self, at: &At<'_>, made: &BudgetReserved) {
        let held = Held {
            run: made.run_id,
            turn: made.turn,
            expired: false,
            scopes: made.scopes.clone(),
            amounts: text::amounts(made.amounts),
            max_output_tokens: made.max_output_tokens,
            since: at.time,
            expires_at: made.expires_at,
            seq: at.seq,
        };
        let key = (at.tenant.clone(), made.reservation_id);
        self.changed.entry(key.clone()).or_insert(false);
        self.add(key, held);
    }

    /// It holds nothing any more, but may still be settled.
    pub(crate) fn expire(&mut self, at: &At<'_>, id: ReservationId) -> Option<Held> {
        let key = (at.tenant.clone(), id);
        let held = self.held.get_mut(&key).filter(|held| !held.expired)?;
        let before = held.clone();
        held.expired = true;
        held.seq = at.seq;
        self.changed.entry(key).or_insert(true);
        self.give_back(at.tenant, &before);
        Some(before)
    }

    /// It is settled and gone.
    pub(crate) fn settle(&mut self, at: &At<'_>, id: ReservationId) -> Option<Held> {
        let key = (at.tenant.clone(), id);
        let held = self.held.remove(&key)?;
        self.changed.entry(key).or_insert(true);
        if !held.expired {
            self.give_back(at.tenant, &held);
        }
        Some(held)
    }

    fn add(&mut self, key: Key, held: Held) {
        if !held.expired {
            for scope in &held.scopes {
                let sum = self
                    .by_scope
                    .entry((key.0.clone(), scope.clone()))
                    .or_default();
                *sum = sum.plus(held.amounts);
            }
        }
        self.held.insert(key, held);
    }

    fn give_back(&mut self, tenant: &Tenant, held: &Held) {
        for scope in &held.scopes {
            let key = (tenant.clone(), scope.clone());
            if let Some(sum) = self.by_scope.get_mut(&key) {
                *sum = sum.minus(held.amounts);
                if sum.is_zero() {
                    self.by_scope.remove(&key);
                }
            }
        }
    }

    /// Reads all of them.
    pub(crate) async fn load(db: &mut PgConnection) -> sqlx::Result<Self> {
        let rows = sqlx::query!(
            "SELECT tenant, id, run_id, turn, status, scopes, tokens, cost_usd_micros, time_ms,
                    max_output_tokens, since, expires_at, seq
             FROM reservations"
        )
        .fetch_all(db)
        .await?;
        let mut all = Self::default();
        for row in rows {
            let tenant = row
                .tenant
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let held = Held {
                run: RunId::new(row.run_id),
                turn: unsigned32(row.turn),
                expired: row.status == "expired",
                scopes: serde_json::from_value(row.scopes)
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
                amounts: amounts(row.tokens, row.cost_usd_micros, row.time_ms),
                max_output_tokens: unsigned(row.max_output_tokens),
                since: timestamp(row.since),
                expires_at: timestamp(row.expires_at),
                seq: unsigned(row.seq),
            };
            all.add((tenant, ReservationId::new(row.id)), held);
        }
        Ok(all)
    }

    /// Writes what changed. What was made and settled since the last time is never written.
    pub(crate) async fn write(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        let mut gone: Vec<&Key> = Vec::new();
        let mut rows: Vec<(&Key, &Held)> = Vec::new();
        for (key, in_table) in &changed {
            match self.held.get(key) {
                Some(held) => rows.push((key, held)),
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
        "DELETE FROM reservations r USING UNNEST($1::text[], $2::uuid[]) AS u(tenant, id)
         WHERE r.tenant = u.tenant AND r.id = u.id",
        col(gone.clone(), |(tenant, _)| tenant.as_str()) as _,
        &col(gone, |(_, id)| id.uuid()),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn upsert(db: &mut PgConnection, rows: &[(&Key, &Held)]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO reservations (tenant, id, run_id, turn, status, scopes, tokens,
             cost_usd_micros, time_ms, max_output_tokens, since, expires_at, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[],
             $6::jsonb[], $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::timestamptz[],
             $12::timestamptz[], $13::int8[])
         ON CONFLICT (tenant, id) DO UPDATE SET status = excluded.status, seq = excluded.seq
         WHERE reservations.seq < excluded.seq",
        col(rows, |((tenant, _), _)| tenant.as_str()) as _,
        &col(rows, |((_, id), _)| id.uuid()),
        &col(rows, |(_, held)| held.run.uuid()),
        &col(rows, |(_, held)| text::small(held.turn.into())),
        col(rows, |(_, held)| if held.expired {
            "expired"
        } else {
            "held"
        }) as _,
        &col(rows, |(_, held)| text::json(&held.scopes)),
        &col(rows, |(_, held)| text::amount(held.amounts.tokens)),
        &col(rows, |(_, held)| text::amount(held.amounts.cost_usd_micros)),
        &col(rows, |(_, held)| text::amount(held.amounts.time_ms)),
        &col(rows, |(_, held)| text::amount(held.max_output_tokens)),
        &col(rows, |(_, held)| text::at(held.since)),
        &col(rows, |(_, held)| text::at(held.expires_at)),
        &col(rows, |(_, held)| text::seq(held.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}
