//! `reservations`: what is held now, who waits for budget in which line, and what expired and is not
//! settled yet; and beside them `runs_in_flight`.
//!
//! The projector keeps them in memory too: a settlement names only the reservation, and the accounts
//! that it changes are found by the scopes of what was held. It is a cache: it is read from the
//! tables after a restart, and thrown away whenever a transaction fails.

mod table;

use std::collections::HashMap;

use nexus_events::ledger::{
    Amounts, BudgetReserved, LimitsSet, ReservationParked, ReservationRequeued, Scope, Shortage,
};
use nexus_events::{ReservationId, RunId, Tenant, Timestamp};
use sqlx::PgConnection;

use super::runs_in_flight::{Flight, Flights};
use crate::fold::At;
use crate::text;

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) run: Option<RunId>,
    pub(crate) turn: u32,
    pub(crate) call: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) status: Status,
    pub(crate) scopes: Vec<Scope>,
    /// Nothing while it waits.
    pub(crate) amounts: Amounts,
    pub(crate) max_output_tokens: u64,
    pub(crate) since: Timestamp,
    /// None where it waits, unless it was held before and expired.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) waits: Option<Box<Waits>>,
    pub(crate) seq: u64,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It is held.
    Held,
    /// It waits for budget.
    Waiting,
    /// It holds nothing any more, but may still be settled.
    Expired,
}

impl Status {
    pub(crate) const ALL: [Self; 3] = [Self::Held, Self::Waiting, Self::Expired];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Expired => "expired",
        }
    }
}

/// A place in a line. The event that parked it is its rank: lower ones were there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) shortage: Shortage,
    pub(crate) line_seq: u64,
    pub(crate) line_position: u32,
}

type Key = (Tenant, ReservationId);

/// Everything that is held, and what changed since it was last written.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: HashMap<Key, Held>,
    /// False where the table has no row of it yet.
    changed: HashMap<Key, bool>,
    by_scope: HashMap<(Tenant, Scope), Amounts>,
    flights: Flights,
}

impl Reservations {
    /// A reservation, whatever its status.
    pub(crate) fn get(&self, tenant: &Tenant, id: ReservationId) -> Option<&Held> {
        self.held.get(&(tenant.clone(), id))
    }

    /// Where a run in flight counts.
    pub(crate) fn flight_scopes(&self, tenant: &Tenant, run: RunId) -> &[Scope] {
        let flight = self.flights.get(tenant, run);
        flight.map_or(&[], |flight| flight.scopes.as_slice())
    }

    /// What the scope of new limits holds already, as the ledger counts it.
    pub(crate) fn held_before(&self, tenant: &Tenant, set: &LimitsSet) -> Amounts {
        match set.brought_by {
            Some(run)
                if set.scope == Scope::Run(run) && self.flights.get(tenant, run).is_none() =>
            {
                Amounts::default()
            }
            _ => {
                let key = (tenant.clone(), set.scope.clone());
                self.by_scope.get(&key).copied().unwrap_or_default()
            }
        }
    }

    /// It is held; gives what that adds to each of its scopes.
    pub(crate) fn reserve(&mut self, at: &At<'_>, made: &BudgetReserved) -> Amounts {
        let mut added = text::amounts(made.amounts);
        self.put(
            at,
            made.reservation_id,
            Held {
                run: made.run_id,
                turn: made.turn,
                call: made.call_id.clone(),
                model: made.model.clone(),
                status: Status::Held,
                scopes: made.scopes.clone(),
                amounts: added,
                max_output_tokens: made.max_output_tokens,
                since: at.time,
                expires_at: Some(made.expires_at),
                waits: None,
                seq: at.seq,
            },
        );
        if let Some(run) = made.run_id.filter(|_| made.opens_run) {
            self.take_off(at, run, &made.scopes);
            added.runs = 1;
        }
        added
    }

    /// It waits, and holds nothing.
    pub(crate) fn park(&mut self, at: &At<'_>, parked: &ReservationParked) {
        let ask = &parked.ask;
        let step = ask.step.as_ref();
        let before = self.get(at.tenant, ask.reservation_id);
        let waits = Waits {
            shortage: parked.shortage.clone(),
            line_seq: at.seq,
            line_position: at.position,
        };
        self.put(
            at,
            ask.reservation_id,
            Held {
                run: step.map(|step| step.run.run_id),
                turn: step.map_or(0, |step| step.turn),
                call: step.and_then(|step| step.call_id.clone()),
                model: ask.model.clone(),
                status: Status::Waiting,
                scopes: ask.scopes.clone(),
                amounts: Amounts::default(),
                max_output_tokens: 0,
                since: at.time,
                expires_at: before.and_then(|before| before.expires_at),
                waits: Some(Box::new(waits)),
                seq: at.seq,
            },
        );
    }

    /// It waits for something else, with its rank.
    pub(crate) fn requeue(&mut self, at: &At<'_>, moved: &ReservationRequeued) {
        let key = (at.tenant.clone(), moved.reservation_id);
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        let Some(waits) = held.waits.as_mut() else {
            return;
        };
        waits.shortage = moved.shortage.clone();
        held.seq = at.seq;
        self.changed.entry(key).or_insert(true);
    }

    /// It waits no more and gets nothing.
    pub(crate) fn leave_line(&mut self, at: &At<'_>, id: ReservationId) {
        let key = (at.tenant.clone(), id);
        let Some(held) = self.held.get_mut(&key).filter(|held| held.waits.is_some()) else {
            return;
        };
        if held.expires_at.is_some() {
            held.status = Status::Expired;
            held.waits = None;
            held.seq = at.seq;
        } else {
            self.held.remove(&key);
        }
        self.changed.entry(key).or_insert(true);
    }

    /// It holds nothing any more, but may still be settled.
    pub(crate) fn expire(&mut self, at: &At<'_>, id: ReservationId) -> Option<Held> {
        let key = (at.tenant.clone(), id);
        let held = self.held.get_mut(&key)?;
        if held.status != Status::Held {
            return None;
        }
        let before = held.clone();
        held.status = Status::Expired;
        held.seq = at.seq;
        self.changed.entry(key).or_insert(true);
        self.give_back(at.tenant, &before.scopes, before.amounts);
        Some(before)
    }

    /// It is settled and gone.
    pub(crate) fn settle(&mut self, at: &At<'_>, id: ReservationId) -> Option<Held> {
        let key = (at.tenant.clone(), id);
        let held = self.held.remove(&key)?;
        self.changed.entry(key).or_insert(true);
        if held.status == Status::Held {
            self.give_back(at.tenant, &held.scopes, held.amounts);
        }
        Some(held)
    }

    /// The run is in flight no more; gives where it counted.
    pub(crate) fn land(&mut self, at: &At<'_>, run: RunId) -> Option<Vec<Scope>> {
        let scopes = self.flights.end(at.tenant, run)?.scopes;
        self.give_back(at.tenant, &scopes, ONE_RUN);
        Some(scopes)
    }

    fn take_off(&mut self, at: &At<'_>, run: RunId, scopes: &[Scope]) {
        self.land(at, run);
        self.add(at.tenant, scopes, ONE_RUN);
        let flight = Flight {
            scopes: scopes.to_vec(),
            since: at.time,
            seq: at.seq,
        };
        self.flights.begin(at.tenant, run, flight);
    }

    fn put(&mut self, at: &At<'_>, id: ReservationId, held: Held) {
        let key = (at.tenant.clone(), id);
        let known = self.held.contains_key(&key);
        self.changed.entry(key.clone()).or_insert(known);
        self.remember(key, held);
    }

    fn remember(&mut self, key: Key, held: Held) {
        if held.status == Status::Held {
            self.add(&key.0, &held.scopes, held.amounts);
        }
        self.held.insert(key, held);
    }

    fn add(&mut self, tenant: &Tenant, scopes: &[Scope], amounts: Amounts) {
        for scope in once(scopes) {
            let key = (tenant.clone(), scope.clone());
            let sum = self.by_scope.entry(key).or_default();
            *sum = sum.plus(amounts);
        }
    }

    fn give_back(&mut self, tenant: &Tenant, scopes: &[Scope], amounts: Amounts) {
        for scope in once(scopes) {
            let key = (tenant.clone(), scope.clone());
            if let Some(sum) = self.by_scope.get_mut(&key) {
                *sum = sum.minus(amounts);
                if sum.is_zero() {
                    self.by_scope.remove(&key);
                }
            }
        }
    }

    /// Reads all of them.
    pub(crate) async fn load(db: &mut PgConnection) -> sqlx::Result<Self> {
        let mut all = Self::default();
        for (key, held) in table::load(db).await? {
            all.remember(key, held);
        }
        all.flights = Flights::load(db).await?;
        let counted: Vec<_> = (all.flights.all())
            .map(|((tenant, _), flight)| (tenant.clone(), flight.scopes.clone()))
            .collect();
        for (tenant, scopes) in counted {
            all.add(&tenant, &scopes, ONE_RUN);
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
        table::delete(db, &gone).await?;
        table::upsert(db, &rows).await?;
        self.flights.write(db).await
    }
}

const ONE_RUN: Amounts = Amounts {
    tokens: 0,
    cost_usd_micros: 0,
    time_ms: 0,
    tool_calls: 0,
    runs: 1,
};

/// A scope that is named twice holds once.
fn once(scopes: &[Scope]) -> impl Iterator<Item = &Scope> {
    let is_first = |(index, scope): &(usize, &Scope)| {
        let before = scopes.iter().take(*index);
        !before.into_iter().any(|before| before == *scope)
    };
    scopes
        .iter()
        .enumerate()
        .filter(is_first)
        .map(|(_, scope)| scope)
}
