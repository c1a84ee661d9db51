//! Limits: set by whoever may, brought by a run, or raised for one who waits.

use super::reserve::Draft;
use super::settle::with_those_who_wait;
use super::{
    Account, Amounts, Ledger, LedgerEvent, LimitsSet, Refusal, ReservationRefused, Waiting,
};
use crate::command::{GrantBudget, RefuseBudget, SetLimits};
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::ReservationId;
use crate::time::Timestamp;

/// Sets limits; the same limits again are no event. Those who wait move up as far as it goes.
pub fn set_limits(ledger: &Ledger, set: &SetLimits, now: Timestamp) -> Vec<LedgerEvent> {
    let known = ledger.account(&set.scope, set.window);
    let before = known.copied().unwrap_or_default();
    let after = Account {
        limits: set.limits,
        on_exhausted: set.on_exhausted.unwrap_or(before.on_exhausted),
        thresholds: set.thresholds.unwrap_or(before.thresholds),
        ..before
    };
    if after == before && (known.is_some() || set.limits.is_unlimited()) {
        return vec![];
    }
    let limits = LimitsSet {
        scope: set.scope.clone(),
        window: set.window,
        limits: after.limits,
        on_exhausted: after.on_exhausted,
        thresholds: after.thresholds,
        brought_by: None,
        previous: known.map(|known| known.limits),
        by: None,
    };
    with_those_who_wait(
        ledger,
        vec![limits.into()],
        std::slice::from_ref(&set.scope),
        now,
    )
}

/// Gives one who waits what he waits for, by raising the limit: by what is missing, or by as much
/// as was said. It is his, whatever his place in the line.
///
/// # Errors
/// [`DomainError::NotFound`]: nobody waits under this id (any more). [`DomainError::Invalid`]: what
/// is granted is too little, with the figures.
pub fn grant(
    ledger: &Ledger,
    grant: &GrantBudget,
    now: Timestamp,
) -> Result<Vec<LedgerEvent>, DomainError> {
    let id = grant.reservation_id;
    if ledger.reservation(id).is_some() && ledger.answer(id).is_some() {
        return Ok(vec![]);
    }
    let waiting = waits(ledger, id)?;
    let shortage = &waiting.shortage;
    // The figures of now, not of when it began to wait.
    let account = match ledger.account(&shortage.scope, shortage.window) {
        Some(account) => account.at(shortage.window, now),
        None => brought(ledger, waiting).ok_or_else(|| not_waiting(id))?,
    };
    let used = account.used().get(shortage.unit);
    let limit = account.limits.get(shortage.unit).unwrap_or_default();
    let missing = used.saturating_add(shortage.needed).saturating_sub(limit);
    let amount = grant.amount.unwrap_or(missing);
    if amount < missing {
        let unit = shortage.unit.as_str();
        let reason = format!("{amount} {unit} are too little: at least {missing} are missing");
        return Err(DomainError::invalid("amount", reason));
    }
    let mut draft = Draft::of(ledger, now);
    draft.record(
        LimitsSet {
            scope: shortage.scope.clone(),
            window: shortage.window,
            limits: account
                .limits
                .raised(Amounts::default().with(shortage.unit, amount)),
            on_exhausted: account.on_exhausted,
            thresholds: account.thresholds,
            brought_by: None,
            previous: Some(account.limits),
            by: None,
        }
        .into(),
    );
    if let Err(shortages) = draft.serve(&waiting.ask) {
        draft.wait_for_another(waiting.ask.clone(), shortages);
    }
    let scopes = std::slice::from_ref(&shortage.scope);
    let moved = super::move_up(&draft.ledger, scopes, now);
    Ok(draft.events.into_iter().chain(moved).collect())
}

/// Says no to one who waits: the run fails, with the figures and the reason.
///
/// # Errors
/// [`DomainError::NotFound`]: nobody waits under this id (any more).
pub fn refuse(
    ledger: &Ledger,
    refuse: &RefuseBudget,
    now: Timestamp,
) -> Result<Vec<LedgerEvent>, DomainError> {
    let id = refuse.reservation_id;
    if ledger
        .answer(id)
        .is_some_and(|answer| answer.refusal.is_some())
    {
        return Ok(vec![]);
    }
    let waiting = waits(ledger, id)?;
    let refused = ReservationRefused {
        reservation_id: id,
        run_id: waiting.ask.step.as_ref().map(|step| step.run.run_id),
        refusal: Refusal {
            reason: refuse.reason.clone(),
            ..waiting.shortage.clone().into()
        },
        // A person; `asked_by` says who.
        by: Some(Actor::default()),
    };
    let scopes = waiting.ask.scopes.clone();
    Ok(with_those_who_wait(
        ledger,
        vec![refused.into()],
        &scopes,
        now,
    ))
}

/// The account of one who needs more than the budget that he brings: the ledger has none before it
/// held something there.
fn brought(ledger: &Ledger, waiting: &Waiting) -> Option<Account> {
    let scope = &waiting.shortage.scope;
    let mut own = waiting.ask.own_limits.iter();
    let own = own.find(|own| own.scope == *scope)?;
    Some(Account {
        limits: own.limits,
        on_exhausted: own.on_exhausted,
        reserved: ledger.held_in(scope),
        ..Account::default()
    })
}

fn waits(ledger: &Ledger, id: ReservationId) -> Result<&Waiting, DomainError> {
    ledger.waiting(id).ok_or_else(|| not_waiting(id))
}

fn not_waiting(id: ReservationId) -> DomainError {
    DomainError::NotFound {
        what: "waiting reservation",
        id: id.to_string(),
    }
}
