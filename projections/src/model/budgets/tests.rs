//! The rows are what the ledger has, at every step of any past.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;

use nexus_events::command::{
    EndRun, GrantBudget, HoldBudget, RefuseBudget, ReleaseBudget, RunRef, SetLimits, Settle,
};
use nexus_events::ledger::{self, Ask, Ledger, Limits, OnExhausted, OwnLimits, RunStep, Unit};
use nexus_events::{Aggregate, Position, ReservationId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::*;

fn ask(id: ReservationId, run_id: RunId, scopes: Vec<Scope>, limits: Limits, tool: bool) -> Ask {
    let run = RunRef {
        run_id,
        first_seq: 1,
        last_seq: 1,
    };
    Ask {
        reservation_id: id,
        step: Some(RunStep {
            run,
            turn: 1,
            call_id: tool.then(|| "call-1".to_owned()),
        }),
        own_limits: vec![OwnLimits {
            scope: Scope::Run(run_id),
            limits,
            on_exhausted: OnExhausted::Reject,
        }],
        scopes,
        model: (!tool).then(|| "m".to_owned()),
        input_tokens: if tool { 0 } else { 10 },
        max_output_tokens: if tool { 0 } else { 100 },
        min_output_tokens: 1,
        time_ms: 1_000,
        min_time_ms: 1,
        extra_cost_usd_micros: 0,
        tool_calls: u64::from(tool),
        price: Default::default(),
        cheaper: vec![],
        hold_ms: 5_000_000,
    }
}

fn pick<T: Copy>(rng: &mut StdRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

/// Some command of some time, as events.
fn events(ledger: &Ledger, rng: &mut StdRng, now: Timestamp) -> Vec<LedgerEvent> {
    // Whose a reservation is never changes.
    let number = rng.random_range(0..12);
    let reservation_id = ReservationId::new(Uuid::from_u128(number));
    let run_id = RunId::new(Uuid::from_u128(number % 4));
    let outside = ReservationId::new(Uuid::from_u128(100 + number));
    let user = if number % 2 == 0 { "ada" } else { "bob" };
    let scopes = vec![
        Scope::Tenant,
        Scope::User(user.into()),
        Scope::Agent("default".into()),
        Scope::Run(run_id),
    ];
    let limits = Limits {
        tokens: rng.random_ratio(3, 4).then(|| rng.random_range(100..2_000)),
        tool_calls: rng.random_ratio(1, 4).then(|| rng.random_range(0..5)),
        runs: rng.random_ratio(1, 4).then(|| rng.random_range(1..4)),
        ..Limits::default()
    };
    let tokens = rng.random_range(0..200);
    let spent = Amounts {
        tokens,
        ..Amounts::default()
    };
    match rng.random_range(0..12) {
        0 => {
            let set = SetLimits {
                scope: scopes[rng.random_range(0..4)].clone(),
                window: pick(rng, &Window::ALL),
                limits,
                on_exhausted: Some(pick(rng, &OnExhausted::ALL)),
                thresholds: vec![rng.random_range(1..=100)].try_into().ok(),
            };
            ledger::set_limits(ledger, &set, now)
        }
        1..5 => {
            let tool = rng.random_ratio(1, 3);
            let ask = ask(reservation_id, run_id, scopes, limits, tool);
            ledger::reserve(ledger, &ask, now).unwrap_or_default()
        }
        5..8 => {
            let settle = Settle {
                reservation_id,
                run_id,
                spent,
                ends_run: rng.random_ratio(1, 4),
            };
            ledger::settle(ledger, &settle, now)
        }
        8 => match rng.random_range(0..3) {
            0 => ledger::end_run(ledger, &EndRun { run_id }, now),
            1 => {
                let grant = GrantBudget {
                    reservation_id,
                    amount: None,
                };
                ledger::grant(ledger, &grant, now).unwrap_or_default()
            }
            _ => {
                let refuse = RefuseBudget {
                    reservation_id,
                    reason: None,
                };
                ledger::refuse(ledger, &refuse, now).unwrap_or_default()
            }
        },
        9 => {
            let hold = HoldBudget {
                reservation_id: outside,
                scopes: vec![Scope::User(user.into())],
                amounts: spent,
                model: None,
                hold_seconds: None,
            };
            ledger::hold(ledger, &hold, now).unwrap_or_default()
        }
        10 => {
            let release = ReleaseBudget {
                reservation_id: outside,
                spent,
            };
            ledger::release(ledger, &release, now).unwrap_or_default()
        }
        _ => ledger::expire(ledger, now),
    }
}

/// Who waits for what, in which order.
type Lines = BTreeMap<String, Vec<ReservationId>>;

fn line(shortage: &nexus_events::ledger::Shortage) -> String {
    format!("{:?} {:?}", shortage.key(), shortage.unit)
}

fn lines_of_ledger(ledger: &Ledger) -> Lines {
    let mut all: Vec<_> = ledger.all_waiting().collect();
    all.sort_by_key(|(_, waiting)| waiting.place);
    let mut lines = Lines::new();
    for (id, waiting) in all {
        lines.entry(line(&waiting.shortage)).or_default().push(*id);
    }
    lines
}

fn lines_of_rows(held: &Reservations, tenant: &Tenant) -> Lines {
    let ids = (0..12).map(|id| ReservationId::new(Uuid::from_u128(id)));
    let mut all: Vec<_> = ids
        .filter_map(|id| Some((id, held.get(tenant, id)?.waits.as_ref()?)))
        .collect();
    all.sort_by_key(|(_, waits)| (waits.line_seq, waits.line_position));
    let mut lines = Lines::new();
    for (id, waits) in all {
        lines.entry(line(&waits.shortage)).or_default().push(id);
    }
    lines
}

/// What a past came to: that everything in it happened.
#[derive(Debug, Default)]
struct Seen {
    waited: usize,
    ended: usize,
    in_flight: u64,
    outside: usize,
    alerts: usize,
}

fn live(seed: u64, seen: &mut Seen) {
    let tenant: Tenant = "acme".parse().unwrap();
    let runs = (0..4).map(|run| Scope::Run(RunId::new(Uuid::from_u128(run))));
    let named = [
        Scope::Tenant,
        Scope::User("ada".into()),
        Scope::User("bob".into()),
        Scope::Agent("default".into()),
    ];
    let scopes: Vec<_> = named.into_iter().chain(runs).collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut ledger, mut total) = (Ledger::default(), 0);
    let mut held = Reservations::default();
    let mut books = Books::new(&mut held, Accounts::default());
    let mut now = Timestamp::from_millis(1_795_353_377_328);
    for seq in 1..250 {
        now = now.plus_millis(rng.random_range(0..3_000_000));
        for (event, index) in events(&ledger, &mut rng, now).into_iter().zip(0..) {
            let place = Position {
                seq,
                index,
                time: now,
            };
            ledger.evolve(&event, place);
            if let LedgerEvent::BudgetSettled(settled) = &event {
                total += settled.spent.tokens;
                seen.outside += usize::from(settled.run_id.is_none());
            }
            let at = At {
                tenant: &tenant,
                seq,
                position: index,
                time: now,
                actor: None,
            };
            books.apply(&at, &event);
        }
        for scope in &scopes {
            for window in Window::ALL {
                let (kind, id) = text::scope_key(scope);
                let row = (books.accounts.rows).get(&(tenant.clone(), kind, id, window));
                seen.ended += usize::from(row.is_some_and(|row| row.account.ended && !row.limited));
                let limited = row.filter(|row| row.limited).map(|row| row.account);
                // Who was told is not in the table.
                let account = ledger.account(scope, window).map(|account| Account {
                    told: Amounts::default(),
                    ..*account
                });
                assert_eq!(
                    limited, account,
                    "seed {seed}, seq {seq}: {scope:?} {window:?}"
                );
                let runs = account.map_or(0, |account| account.reserved.get(Unit::Runs));
                seen.in_flight = seen.in_flight.max(runs);
            }
        }
        let lines = lines_of_ledger(&ledger);
        seen.waited = seen
            .waited
            .max(lines.values().map(Vec::len).max().unwrap_or(0));
        assert_eq!(
            lines_of_rows(books.held, &tenant),
            lines,
            "seed {seed}, seq {seq}"
        );
    }
    let key = (tenant.clone(), "tenant", String::new(), Window::Lifetime);
    let row = &books.accounts.rows[&key];
    assert_eq!(row.total.tokens, total);
    assert_eq!(
        books.spend.tokens(),
        total,
        "what is reported is what was spent"
    );
    seen.alerts += books.alerts.len();
}

#[test]
fn accounts_and_lines_are_what_the_ledger_has_at_every_step() {
    let mut seen = Seen::default();
    for seed in 0..60 {
        live(seed, &mut seen);
    }
    let Seen {
        waited,
        ended,
        in_flight,
        outside,
        alerts,
    } = seen;
    assert!(
        waited > 1 && ended > 0 && in_flight > 1 && outside > 0 && alerts > 0,
        "{seen:?}"
    );
}
