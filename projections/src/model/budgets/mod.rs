//! `budgets`: the ledger's accounts as they stand, and for scopes without limits what they spent.
//!
//! An account's arithmetic (windows that roll, limits that begin to count when they are set) is the
//! ledger's own. So the rows of a batch's scopes are read, changed in memory with the ledger's
//! functions, and written whole. Sums in SQL were the alternative: the same rules written twice.
//!
//! The ledger forgets an account whose run has ended; its row stays as history, without limits in
//! force (`ended`, not `limited`).

mod table;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use nexus_events::ledger::{
    Account, Amounts, BudgetSettled, LedgerEvent, LimitsSet, Scope, Window,
};
use nexus_events::{RunId, Tenant, Timestamp};
use sqlx::PgConnection;

use super::budget_alerts::BudgetAlerts;
use super::reservations::{Held, Reservations, Status};
use super::spend::Spend;
use crate::fold::At;
use crate::text;
pub(crate) use table::Record;

/// A scope in a window.
type Key = (Tenant, &'static str, String, Window);

/// The ledgers' events of a batch, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    events: Vec<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    tenant: Tenant,
    seq: u64,
    position: u32,
    time: Timestamp,
    event: LedgerEvent,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: Key,
    /// The limits are in force.
    limited: bool,
    account: Account,
    brought_by: Option<RunId>,
    total: Amounts,
    updated_at: Timestamp,
    seq: u64,
    changed: bool,
}

/// Rows that were read, changed or made.
#[derive(Debug, Default)]
struct Accounts {
    rows: HashMap<Key, Row>,
}

/// Everything that a ledger's events change.
struct Books<'a> {
    held: &'a mut Reservations,
    accounts: Accounts,
    spend: Spend,
    alerts: BudgetAlerts,
}

impl Budgets {
    pub(crate) fn ledger(&mut self, at: &At<'_>, event: &LedgerEvent) {
        self.events.push(Recorded {
            tenant: at.tenant.clone(),
            seq: at.seq,
            position: at.position,
            time: at.time,
            event: event.clone(),
        });
    }

    /// Writes all of it. `held` is what was held before, and becomes what is held.
    pub(crate) async fn write(
        &self,
        held: &mut Reservations,
        db: &mut PgConnection,
    ) -> sqlx::Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let accounts = table::load(db, &self.scopes(held)).await?;
        let mut books = Books::new(held, accounts);
        self.fold(&mut books);
        let changed = books.accounts.rows.values().filter(|row| row.changed);
        table::store(db, changed).await?;
        books.spend.write(db).await?;
        books.alerts.write(db).await?;
        held.write(db).await
    }

    /// Every scope that the events change.
    fn scopes(&self, held: &Reservations) -> HashSet<(Tenant, &'static str, String)> {
        let mut all = HashSet::new();
        for Recorded { tenant, event, .. } in &self.events {
            let mut add = |scope: &Scope| {
                let (kind, id) = text::scope_key(scope);
                all.insert((tenant.clone(), kind, id));
            };
            match event {
                LedgerEvent::LimitsSet(set) => add(&set.scope),
                LedgerEvent::BudgetReserved(made) => made.scopes.iter().for_each(&mut add),
                LedgerEvent::BudgetSettled(BudgetSettled { reservation_id, .. }) => {
                    let scopes = held.get(tenant, *reservation_id).map(|held| &held.scopes);
                    scopes.into_iter().flatten().for_each(&mut add);
                }
                LedgerEvent::ReservationExpired(gone) => {
                    let scopes = held
                        .get(tenant, gone.reservation_id)
                        .map(|held| &held.scopes);
                    scopes.into_iter().flatten().for_each(&mut add);
                }
                LedgerEvent::BudgetOverrun(_)
                | LedgerEvent::ThresholdReached(_)
                | LedgerEvent::ReservationParked(_)
                | LedgerEvent::ReservationRequeued(_)
                | LedgerEvent::ReservationRefused(_)
                | LedgerEvent::ReservationWithdrawn(_)
                | LedgerEvent::RunReleased(_) => {}
            }
            if let Some(run) = run_that_ended(event) {
                add(&Scope::Run(run));
                held.flight_scopes(tenant, run).iter().for_each(&mut add);
            }
        }
        all
    }

    fn fold(&self, books: &mut Books<'_>) {
        for recorded in &self.events {
            let at = At {
                tenant: &recorded.tenant,
                seq: recorded.seq,
                position: recorded.position,
                time: recorded.time,
                actor: None,
            };
            books.apply(&at, &recorded.event);
        }
    }
}

/// The run that is no longer in flight with this.
fn run_that_ended(event: &LedgerEvent) -> Option<RunId> {
    match event {
        LedgerEvent::BudgetSettled(settled) => settled.run_id.filter(|_| settled.ends_run),
        LedgerEvent::ReservationWithdrawn(gone) => gone.run_id.filter(|_| gone.ends_run),
        LedgerEvent::RunReleased(released) => Some(released.run_id),
        _ => None,
    }
}

impl<'a> Books<'a> {
    fn new(held: &'a mut Reservations, accounts: Accounts) -> Self {
        Self {
            held,
            accounts,
            spend: Spend::default(),
            alerts: BudgetAlerts::default(),
        }
    }

    /// One event, as the ledger itself takes it.
    fn apply(&mut self, at: &At<'_>, event: &LedgerEvent) {
        match event {
            LedgerEvent::LimitsSet(set) => self.limit(at, set),
            LedgerEvent::BudgetReserved(made) => {
                for scope in &made.scopes {
                    // A run's own sums are in its row already.
                    if !matches!(scope, Scope::Run(_)) {
                        self.accounts.entry(at, scope, Window::Lifetime);
                    }
                }
                let added = self.held.reserve(at, made);
                self.accounts.change(at, &made.scopes, |row| {
                    row.account.reserved = row.account.reserved.plus(added);
                });
            }
            LedgerEvent::BudgetSettled(settled) => self.settle(at, settled),
            LedgerEvent::BudgetOverrun(overrun) => {
                let whose = self.spend.overrun(at, overrun.reservation_id);
                self.alerts.overrun(at, overrun, whose);
            }
            LedgerEvent::ThresholdReached(reached) => self.alerts.threshold(at, reached),
            LedgerEvent::ReservationExpired(gone) => {
                if let Some(held) = self.held.expire(at, gone.reservation_id) {
                    self.accounts.change(at, &held.scopes, |row| {
                        row.account.reserved = row.account.reserved.minus(held.amounts);
                    });
                }
            }
            LedgerEvent::ReservationParked(parked) => self.held.park(at, parked),
            LedgerEvent::ReservationRequeued(moved) => self.held.requeue(at, moved),
            LedgerEvent::ReservationRefused(refused) => {
                self.held.leave_line(at, refused.reservation_id);
            }
            LedgerEvent::ReservationWithdrawn(gone) => {
                self.held.leave_line(at, gone.reservation_id);
            }
            LedgerEvent::RunReleased(_) => {}
        }
        if let Some(run) = run_that_ended(event) {
            self.end_run(at, run);
        }
    }

    fn limit(&mut self, at: &At<'_>, set: &LimitsSet) {
        let reserved = self.held.held_before(at.tenant, set);
        let row = self.accounts.entry(at, &set.scope, set.window);
        if !row.limited {
            row.limited = true;
            row.account = Account {
                reserved,
                ..Account::default()
            };
        }
        row.brought_by = set.brought_by;
        row.account = Account {
            limits: set.limits,
            on_exhausted: set.on_exhausted,
            thresholds: set.thresholds,
            ..row.account.at(set.window, at.time)
        };
    }

    fn settle(&mut self, at: &At<'_>, settled: &BudgetSettled) {
        let Some(held) = self.held.settle(at, settled.reservation_id) else {
            return;
        };
        let back = match held.status {
            Status::Held => held.amounts,
            Status::Expired | Status::Waiting => Amounts::default(),
        };
        let spent = text::amounts(settled.spent);
        self.accounts.change(at, &held.scopes, |row| {
            row.account.reserved = row.account.reserved.minus(back);
            row.account.spent = row.account.spent.plus(spent);
            if row.key.3 == Window::Lifetime {
                row.total = row.total.plus(spent);
            }
        });
        self.spend.settled(at, settled, &held);
    }

    fn end_run(&mut self, at: &At<'_>, run: RunId) {
        let own = Scope::Run(run);
        self.accounts.end(at, &own);
        let scopes = self.held.land(at, run);
        let one = Amounts {
            runs: u64::from(scopes.is_some()),
            ..Amounts::default()
        };
        self.accounts
            .change(at, &scopes.unwrap_or_else(|| vec![own]), |row| {
                row.account.reserved = row.account.reserved.minus(one);
            });
    }
}

impl Accounts {
    /// The row of a scope in a window; a new one where nothing was limited or counted before.
    fn entry(&mut self, at: &At<'_>, scope: &Scope, window: Window) -> &mut Row {
        let (kind, id) = text::scope_key(scope);
        let key = (at.tenant.clone(), kind, id, window);
        let row = self.rows.entry(key.clone()).or_insert_with(|| Row {
            key,
            limited: false,
            account: Account::default(),
            brought_by: None,
            total: Amounts::default(),
            updated_at: at.time,
            seq: at.seq,
            changed: true,
        });
        row.touch(at);
        row
    }

    /// The rows that a scope has.
    fn of(&mut self, at: &At<'_>, scope: &Scope, mut change: impl FnMut(Window, &mut Row)) {
        let (kind, id) = text::scope_key(scope);
        for window in Window::ALL {
            let key = (at.tenant.clone(), kind, id.clone(), window);
            if let Some(row) = self.rows.get_mut(&key) {
                change(window, row);
            }
        }
    }

    /// Changes every row that one of the scopes has. Where a run ended and nothing is held in it any
    /// more, its limits are no longer in force.
    fn change(&mut self, at: &At<'_>, scopes: &[Scope], change: impl Fn(&mut Row)) {
        for scope in scopes {
            let mut is_over = false;
            self.of(at, scope, |window, row| {
                row.account = row.account.at(window, at.time);
                change(row);
                row.touch(at);
                is_over |= row.limited && row.account.ended && row.account.reserved.is_zero();
            });
            if is_over {
                self.of(at, scope, |_, row| row.limited = false);
            }
        }
    }

    /// The scope's run has ended.
    fn end(&mut self, at: &At<'_>, scope: &Scope) {
        self.of(at, scope, |_, row| {
            row.account.ended = true;
            row.touch(at);
        });
    }
}

impl Row {
    fn touch(&mut self, at: &At<'_>) {
        self.updated_at = at.time;
        self.seq = at.seq;
        self.changed = true;
    }
}

/// Whose spending a reservation is: the first user and the first agent that it counts in. A child
/// names its own before those of the runs that it works for.
pub(crate) fn spender(held: &Held) -> (String, String) {
    let first = |name: fn(&Scope) -> Option<&String>| {
        held.scopes
            .iter()
            .find_map(name)
            .map(|name| text::name(name))
    };
    let user = first(|scope| match scope {
        Scope::User(user) => Some(user),
        _ => None,
    });
    let agent = first(|scope| match scope {
        Scope::Agent(agent) => Some(agent),
        _ => None,
    });
    (user.unwrap_or_default(), agent.unwrap_or_default())
}
