//! Settle after: what was spent is accounted for, what was not used goes back, and nothing leaks.

use super::reserve::{Draft, move_up_all};
use super::{
    Amounts, BudgetOverrun, BudgetSettled, Ledger, LedgerEvent, ReservationExpired,
    ReservationWithdrawn, RunReleased, Scope, ThresholdReached, move_up,
};
use crate::command::{EndRun, Settle};
use crate::ids::{ReservationId, RunId};
use crate::time::Timestamp;

/// Accounts for what was spent. Settling twice is settling once; settling after expiry is spend;
/// settling what waits gives its place up.
pub fn settle(ledger: &Ledger, settle: &Settle, now: Timestamp) -> Vec<LedgerEvent> {
    let (id, run_id) = (settle.reservation_id, settle.run_id);
    let ends_run = settle.ends_run;
    let is_spent = ledger.reservation(id).is_some() || ledger.expired(id).is_some();
    if !is_spent && (ledger.waiting(id).is_some() || ledger.answer(id).is_some()) {
        let gone = ReservationWithdrawn {
            reservation_id: id,
            run_id: Some(run_id),
            ends_run,
        };
        let waiting = ledger.waiting(id).map(|waiting| waiting.ask.scopes.clone());
        let scopes = waiting.or_else(|| ledger.runs.get(&run_id).cloned());
        return with_those_who_wait(ledger, vec![gone.into()], &scopes.unwrap_or_default(), now);
    }
    let spending = Spending {
        id,
        run_id: Some(run_id),
        spent: settle.spent,
        ends_run,
    };
    match spend(ledger, &spending, now) {
        events if events.is_empty() && ends_run => end_run(ledger, &EndRun { run_id }, now),
        events => events,
    }
}

/// What was spent of a reservation.
pub(super) struct Spending {
    pub(super) id: ReservationId,
    pub(super) run_id: Option<RunId>,
    pub(super) spent: Amounts,
    pub(super) ends_run: bool,
}

/// Accounts for it, tells of thresholds, and lets those who wait move up.
pub(super) fn spend(ledger: &Ledger, spending: &Spending, now: Timestamp) -> Vec<LedgerEvent> {
    let &Spending {
        id,
        run_id,
        spent,
        ends_run,
    } = spending;
    let (held, late) = match (ledger.reservation(id), ledger.expired(id)) {
        (Some(held), _) => (held, false),
        (None, Some(gone)) => (gone, true),
        (None, None) => return vec![],
    };
    let scopes = held.scopes.clone();
    let allowed = if late {
        Amounts::default()
    } else {
        held.amounts
    };
    let settled = BudgetSettled {
        reservation_id: id,
        run_id,
        spent,
        late,
        ends_run,
    };
    let mut events = vec![LedgerEvent::from(settled)];
    let excess = spent.minus(allowed);
    if !late && !excess.is_zero() {
        let reservation_id = id;
        events.push(
            BudgetOverrun {
                reservation_id,
                run_id,
                excess,
            }
            .into(),
        );
    }
    with_those_who_wait(ledger, events, &scopes, now)
}

/// A run that ended is no longer in flight.
pub fn end_run(ledger: &Ledger, end: &EndRun, now: Timestamp) -> Vec<LedgerEvent> {
    let run_id = end.run_id;
    let Some(scopes) = ledger.runs.get(&run_id).cloned() else {
        return vec![];
    };
    with_those_who_wait(ledger, vec![RunReleased { run_id }.into()], &scopes, now)
}

/// Returns what is held past its time, and lets those move up whose window began anew.
pub fn expire(ledger: &Ledger, now: Timestamp) -> Vec<LedgerEvent> {
    let mut draft = Draft::of(ledger, now);
    for (reservation_id, held) in ledger.held.until(now) {
        let (run_id, amounts) = (held.run_id, held.amounts);
        draft.record(
            ReservationExpired {
                reservation_id,
                run_id,
                amounts,
            }
            .into(),
        );
    }
    let moved = move_up_all(&draft.ledger, now);
    draft.events.into_iter().chain(moved).collect()
}

/// The events, the thresholds that they reach, and what those get who wait for these scopes.
pub(super) fn with_those_who_wait(
    ledger: &Ledger,
    events: Vec<LedgerEvent>,
    scopes: &[Scope],
    now: Timestamp,
) -> Vec<LedgerEvent> {
    let mut draft = Draft::of(ledger, now);
    for event in events {
        draft.record(event);
    }
    for event in thresholds(&draft.ledger, scopes) {
        draft.record(event.into());
    }
    let moved = move_up(&draft.ledger, scopes, now);
    draft.events.into_iter().chain(moved).collect()
}

fn thresholds(ledger: &Ledger, scopes: &[Scope]) -> Vec<ThresholdReached> {
    let accounts = ledger.accounts_of(scopes);
    accounts
        .flat_map(|(scope, window, account)| {
            account
                .thresholds_to_tell()
                .map(move |(unit, percent)| ThresholdReached {
                    scope: scope.clone(),
                    window,
                    unit,
                    percent,
                    limit: account.limits.get(unit).unwrap_or_default(),
                    spent: account.spent.get(unit),
                })
        })
        .collect()
}
