//! `budgets`: the ledger's accounts as they stand, and for scopes without limits what they spent.
//!
//! An account's arithmetic (windows that roll, limits that begin to count when they are set) is the
//! ledger's own. So the rows of a batch's scopes are read, changed in memory with the ledger's
//! functions, and written whole. Sums in SQL were the alternative: the same rules written twice.

use std::collections::{HashMap, HashSet};

use nexus_events::ledger::{Account, Amounts, LedgerEvent, Limits, Scope, Window};
use nexus_events::{Tenant, Timestamp};
use sqlx::PgConnection;

use super::reservations::{Held, Reservations};
use crate::fold::{At, col};
use crate::query::{amounts, timestamp, unsigned};
use crate::text;

/// A scope in a window.
type Key = (Tenant, &'static str, String, Window);

/// The ledgers' events of a batch, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    events: Vec<(Tenant, u64, Timestamp, LedgerEvent)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: Key,
    limited: bool,
    account: Account,
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

impl Budgets {
    pub(crate) fn ledger(&mut self, at: &At<'_>, event: &LedgerEvent) {
        match event {
            // A fact for people; the settlement beside it carries the amounts.
            LedgerEvent::BudgetOverrun(_) => {}
            _ => self
                .events
                .push((at.tenant.clone(), at.seq, at.time, event.clone())),
        }
    }

    /// Writes accounts and reservations. `held` is what was held before, and becomes what is held.
    pub(crate) async fn write(
        &self,
        held: &mut Reservations,
        db: &mut PgConnection,
    ) -> sqlx::Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let mut accounts = load(db, &self.scopes(held)).await?;
        self.fold(held, &mut accounts);
        store(db, accounts.rows.values().filter(|row| row.changed)).await?;
        held.write(db).await
    }

    /// Every scope that the events change.
    fn scopes(&self, held: &Reservations) -> HashSet<(Tenant, &'static str, String)> {
        let mut all = HashSet::new();
        for (tenant, _, _, event) in &self.events {
            let scopes = match event {
                LedgerEvent::LimitsSet(set) => std::slice::from_ref(&set.scope),
                LedgerEvent::BudgetReserved(made) => &made.scopes,
                LedgerEvent::BudgetSettled(settled) => {
                    scopes_of(held, tenant, settled.reservation_id)
                }
                LedgerEvent::ReservationExpired(gone) => {
                    scopes_of(held, tenant, gone.reservation_id)
                }
                LedgerEvent::BudgetOverrun(_) => &[],
            };
            for scope in scopes {
                let (kind, id) = text::scope_key(scope);
                all.insert((tenant.clone(), kind, id));
            }
        }
        all
    }

    fn fold(&self, held: &mut Reservations, accounts: &mut Accounts) {
        for (tenant, seq, time, event) in &self.events {
            let at = At {
                tenant,
                seq: *seq,
                position: 0,
                time: *time,
                actor: None,
            };
            apply(held, accounts, &at, event);
        }
    }
}

fn scopes_of<'a>(
    held: &'a Reservations,
    tenant: &Tenant,
    id: nexus_events::ReservationId,
) -> &'a [Scope] {
    held.get(tenant, id)
        .map_or(&[], |held| held.scopes.as_slice())
}

/// One event, as the ledger itself takes it.
fn apply(held: &mut Reservations, accounts: &mut Accounts, at: &At<'_>, event: &LedgerEvent) {
    match event {
        LedgerEvent::LimitsSet(set) => {
            let reserved = held.held_in(at.tenant, &set.scope);
            let row = accounts.entry(at, &set.scope, set.window);
            if !row.limited {
                row.limited = true;
                row.account = Account {
                    reserved,
                    ..Account::default()
                };
            }
            row.account = Account {
                limits: set.limits,
                ..row.account.at(set.window, at.time)
            };
        }
        LedgerEvent::BudgetReserved(made) => {
            held.reserve(at, made);
            let amounts = text::amounts(made.amounts);
            for scope in &made.scopes {
                // A run's own sums are in its row already.
                if !matches!(scope, Scope::Run(_)) {
                    accounts.entry(at, scope, Window::Lifetime);
                }
            }
            accounts.change(at, &made.scopes, |row| {
                row.account.reserved = row.account.reserved.plus(amounts);
            });
        }
        LedgerEvent::BudgetSettled(settled) => {
            let Some(Held {
                scopes,
                amounts,
                expired,
                ..
            }) = held.settle(at, settled.reservation_id)
            else {
                return;
            };
            let back = if expired { Amounts::default() } else { amounts };
            let spent = text::amounts(settled.spent);
            accounts.change(at, &scopes, |row| {
                row.account.reserved = row.account.reserved.minus(back);
                row.account.spent = row.account.spent.plus(spent);
                if row.key.3 == Window::Lifetime {
                    row.total = row.total.plus(spent);
                }
            });
        }
        LedgerEvent::ReservationExpired(gone) => {
            let Some(Held {
                scopes, amounts, ..
            }) = held.expire(at, gone.reservation_id)
            else {
                return;
            };
            accounts.change(at, &scopes, |row| {
                row.account.reserved = row.account.reserved.minus(amounts);
            });
        }
        LedgerEvent::BudgetOverrun(_) => {}
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
            total: Amounts::default(),
            updated_at: at.time,
            seq: at.seq,
            changed: true,
        });
        row.touch(at);
        row
    }

    /// Changes every row that one of the scopes has.
    fn change(&mut self, at: &At<'_>, scopes: &[Scope], change: impl Fn(&mut Row)) {
        for scope in scopes {
            let (kind, id) = text::scope_key(scope);
            for window in Window::ALL {
                let key = (at.tenant.clone(), kind, id.clone(), window);
                if let Some(row) = self.rows.get_mut(&key) {
                    row.account = row.account.at(window, at.time);
                    change(row);
                    row.touch(at);
                }
            }
        }
    }
}

impl Row {
    fn touch(&mut self, at: &At<'_>) {
        self.updated_at = at.time;
        self.seq = at.seq;
        self.changed = true;
    }
}

async fn load(
    db: &mut PgConnection,
    scopes: &HashSet<(Tenant, &'static str, String)>,
) -> sqlx::Result<Accounts> {
    let rows = sqlx::query!(
        "SELECT b.tenant, b.scope_kind, b.scope_id, b.budget_window, b.limited, b.limit_tokens,
                b.limit_cost_usd_micros, b.limit_time_ms, b.reserved_tokens,
                b.reserved_cost_usd_micros, b.reserved_time_ms, b.spent_tokens,
                b.spent_cost_usd_micros, b.spent_time_ms, b.window_number, b.total_tokens,
                b.total_cost_usd_micros, b.total_time_ms, b.updated_at, b.seq
         FROM UNNEST($1::text[], $2::text[], $3::text[]) AS u(tenant, kind, id)
         JOIN budgets b ON b.tenant = u.tenant AND b.scope_kind = u.kind AND b.scope_id = u.id",
        col(scopes, |(tenant, ..)| tenant.as_str()) as _,
        col(scopes, |(_, kind, _)| *kind) as _,
        col(scopes, |(.., id)| id.as_str()) as _,
    )
    .fetch_all(db)
    .await?;
    let mut accounts = Accounts::default();
    for row in rows {
        let unknown = |what: &str| sqlx::Error::Decode(format!("budgets holds {what}").into());
        let tenant: Tenant = row.tenant.parse().map_err(|_| unknown(&row.tenant))?;
        let kind = (KINDS.into_iter())
            .find(|kind| *kind == row.scope_kind)
            .ok_or_else(|| unknown(&row.scope_kind))?;
        let window = (Window::ALL.into_iter())
            .find(|window| window.as_str() == row.budget_window)
            .ok_or_else(|| unknown(&row.budget_window))?;
        let key = (tenant, kind, row.scope_id, window);
        let account = Account {
            limits: Limits {
                tokens: row.limit_tokens.map(unsigned),
                cost_usd_micros: row.limit_cost_usd_micros.map(unsigned),
                time_ms: row.limit_time_ms.map(unsigned),
            },
            reserved: amounts(
                row.reserved_tokens,
                row.reserved_cost_usd_micros,
                row.reserved_time_ms,
            ),
            spent: amounts(
                row.spent_tokens,
                row.spent_cost_usd_micros,
                row.spent_time_ms,
            ),
            window_number: row.window_number,
        };
        let row = Row {
            key: key.clone(),
            limited: row.limited,
            account,
            total: amounts(
                row.total_tokens,
                row.total_cost_usd_micros,
                row.total_time_ms,
            ),
            updated_at: timestamp(row.updated_at),
            seq: unsigned(row.seq),
            changed: false,
        };
        accounts.rows.insert(key, row);
    }
    Ok(accounts)
}

/// What [`Scope::kind`] gives.
const KINDS: [&str; 5] = ["tenant", "user", "agent", "session", "run"];

async fn store<'a>(db: &mut PgConnection, rows: impl Iterator<Item = &'a Row>) -> sqlx::Result<()> {
    let rows: Vec<&Row> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().copied();
    let limit =
        |row: &Row, unit: fn(&Limits) -> Option<u64>| unit(&row.account.limits).map(text::amount);
    let reserved = |row: &Row| row.account.reserved;
    let spent = |row: &Row| row.account.spent;
    sqlx::query!(
        "INSERT INTO budgets (tenant, scope_kind, scope_id, budget_window, limited, limit_tokens,
             limit_cost_usd_micros, limit_time_ms, reserved_tokens, reserved_cost_usd_micros,
             reserved_time_ms, spent_tokens, spent_cost_usd_micros, spent_time_ms, window_number,
             total_tokens, total_cost_usd_micros, total_time_ms, updated_at, seq)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[],
             $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int8[],
             $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::int8[], $17::int8[],
             $18::int8[], $19::timestamptz[], $20::int8[])
         ON CONFLICT (tenant, scope_kind, scope_id, budget_window) DO UPDATE SET
             limited = excluded.limited,
             limit_tokens = excluded.limit_tokens,
             limit_cost_usd_micros = excluded.limit_cost_usd_micros,
             limit_time_ms = excluded.limit_time_ms,
             reserved_tokens = excluded.reserved_tokens,
             reserved_cost_usd_micros = excluded.reserved_cost_usd_micros,
             reserved_time_ms = excluded.reserved_time_ms,
             spent_tokens = excluded.spent_tokens,
             spent_cost_usd_micros = excluded.spent_cost_usd_micros,
             spent_time_ms = excluded.spent_time_ms,
             window_number = excluded.window_number,
             total_tokens = excluded.total_tokens,
             total_cost_usd_micros = excluded.total_cost_usd_micros,
             total_time_ms = excluded.total_time_ms,
             updated_at = excluded.updated_at,
             seq = excluded.seq
         WHERE budgets.seq < excluded.seq",
        col(rows.clone(), |row| row.key.0.as_str()) as _,
        col(rows.clone(), |row| row.key.1) as _,
        col(rows.clone(), |row| row.key.2.as_str()) as _,
        col(rows.clone(), |row| row.key.3.as_str()) as _,
        &col(rows.clone(), |row| row.limited),
        col(rows.clone(), |row| limit(row, |limits| limits.tokens)) as _,
        col(rows.clone(), |row| limit(row, |limits| limits
            .cost_usd_micros)) as _,
        col(rows.clone(), |row| limit(row, |limits| limits.time_ms)) as _,
        &col(rows.clone(), |row| text::amount(reserved(row).tokens)),
        &col(rows.clone(), |row| text::amount(
            reserved(row).cost_usd_micros
        )),
        &col(rows.clone(), |row| text::amount(reserved(row).time_ms)),
        &col(rows.clone(), |row| text::amount(spent(row).tokens)),
        &col(rows.clone(), |row| text::amount(spent(row).cost_usd_micros)),
        &col(rows.clone(), |row| text::amount(spent(row).time_ms)),
        &col(rows.clone(), |row| row.account.window_number),
        &col(rows.clone(), |row| text::amount(row.total.tokens)),
        &col(rows.clone(), |row| text::amount(row.total.cost_usd_micros)),
        &col(rows.clone(), |row| text::amount(row.total.time_ms)),
        &col(rows.clone(), |row| text::at(row.updated_at)),
        &col(rows, |row| text::seq(row.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::command::{SetLimits, Settle};
    use nexus_events::ledger::{self, Ask, Ledger};
    use nexus_events::{Aggregate, Position, ReservationId, RunId};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use uuid::Uuid;

    use super::*;

    /// Some command of some time, as events.
    fn events(ledger: &Ledger, rng: &mut StdRng, now: Timestamp) -> Vec<LedgerEvent> {
        let run_id = RunId::new(Uuid::from_u128(rng.random_range(0..4)));
        let reservation_id = ReservationId::new(Uuid::from_u128(rng.random_range(0..12)));
        let scopes = vec![Scope::Tenant, Scope::User("ada".into()), Scope::Run(run_id)];
        let limits = Limits {
            tokens: Some(rng.random_range(500..5_000)),
            ..Limits::default()
        };
        match rng.random_range(0..6) {
            0 => {
                let scope = scopes[rng.random_range(0..3)].clone();
                let window = Window::ALL[rng.random_range(0..4)];
                ledger::set_limits(
                    ledger,
                    &SetLimits {
                        scope,
                        window,
                        limits,
                    },
                )
            }
            1..3 => {
                let ask = Ask {
                    reservation_id,
                    run_id,
                    turn: 1,
                    own_limits: vec![(Scope::Run(run_id), limits)],
                    scopes,
                    input_tokens: 10,
                    max_output_tokens: 100,
                    min_output_tokens: 1,
                    time_ms: 1_000,
                    min_time_ms: 1,
                    price: Default::default(),
                    hold_ms: 5_000_000,
                };
                ledger::reserve(ledger, &ask, now).unwrap_or_default()
            }
            3..5 => {
                let tokens = rng.random_range(0..200);
                let spent = Amounts {
                    tokens,
                    ..Amounts::default()
                };
                ledger::settle(
                    ledger,
                    &Settle {
                        reservation_id,
                        run_id,
                        spent,
                    },
                )
            }
            _ => ledger::expire(ledger, now),
        }
    }

    #[test]
    fn accounts_are_what_the_ledger_has_at_every_step() {
        let tenant: Tenant = "acme".parse().unwrap();
        let runs = (0..4).map(|run| Scope::Run(RunId::new(Uuid::from_u128(run))));
        let scopes: Vec<_> = [Scope::Tenant, Scope::User("ada".into())]
            .into_iter()
            .chain(runs)
            .collect();
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut ledger, mut total) = (Ledger::default(), 0);
            let (mut held, mut accounts) = (Reservations::default(), Accounts::default());
            let mut now = Timestamp::from_millis(1_795_353_377_328);
            for seq in 1..200 {
                now = now.plus_millis(rng.random_range(0..3_000_000));
                for event in events(&ledger, &mut rng, now) {
                    ledger.evolve(
                        &event,
                        Position {
                            seq,
                            index: 0,
                            time: now,
                        },
                    );
                    if let LedgerEvent::BudgetSettled(settled) = &event {
                        total += settled.spent.tokens;
                    }
                    let at = At {
                        tenant: &tenant,
                        seq,
                        position: 0,
                        time: now,
                        actor: None,
                    };
                    apply(&mut held, &mut accounts, &at, &event);
                }
                for scope in &scopes {
                    for window in Window::ALL {
                        let (kind, id) = text::scope_key(scope);
                        let row = accounts.rows.get(&(tenant.clone(), kind, id, window));
                        let limited = row.filter(|row| row.limited).map(|row| &row.account);
                        assert_eq!(limited, ledger.account(scope, window), "{seed} {scope:?}");
                    }
                }
            }
            let key = (tenant.clone(), "tenant", String::new(), Window::Lifetime);
            assert_eq!(accounts.rows[&key].total.tokens, total);
        }
    }
}
