//! Reserve before: a call's budget is held in all of its scopes or in none; where it does not fit,
//! the accounts that have too little say what happens.

use super::ask::{Ask, Refusal, Shortage};
use super::fit::{Fit, Rank, fit, is_closed};
use super::{
    AccountKey, BudgetReserved, Ledger, LedgerEvent, OnExhausted, ReservationParked,
    ReservationRefused, ReservationRequeued, Scope, Unit, Window,
};
use crate::aggregate::{Aggregate, Position};
use crate::time::Timestamp;

/// Holds what a call may spend, or makes it wait. No event: it is held or waits already, has been
/// answered (see [`Ledger::answer`]), or it was settled and whoever asks is late.
///
/// # Errors
/// [`Refusal`]: the figures of the first account that rejects it. Nothing is recorded then.
pub fn reserve(ledger: &Ledger, ask: &Ask, now: Timestamp) -> Result<Vec<LedgerEvent>, Refusal> {
    let id = ask.reservation_id;
    let known = ledger.reservation(id).is_some() || ledger.waiting(id).is_some();
    if known || ledger.was_settled(id) {
        return Ok(vec![]);
    }
    if let Some(refusal) = ledger.answer(id).and_then(|answer| answer.refusal.clone()) {
        return Err(refusal);
    }
    match fit(ledger, ask, Rank::Newcomer, now) {
        Ok(fit) => Ok(granted(ask, fit, now)),
        Err(shortages) => {
            let shortage = waits_for(ledger, ask, shortages, now)?;
            let ask = ask.clone();
            Ok(vec![Box::new(ReservationParked { ask, shortage }).into()])
        }
    }
}

/// The events that hold it.
pub(super) fn granted(ask: &Ask, fit: Fit, now: Timestamp) -> Vec<LedgerEvent> {
    let step = ask.step.as_ref();
    let reserved = BudgetReserved {
        reservation_id: ask.reservation_id,
        run_id: step.map(|step| step.run.run_id),
        turn: step.map_or(0, |step| step.turn),
        call_id: step.and_then(|step| step.call_id.clone()),
        model: ask.model.clone(),
        scopes: ask.scopes.clone(),
        amounts: fit.amounts,
        input_tokens: ask.input_tokens,
        max_output_tokens: fit.output_tokens,
        expires_at: now.plus_millis(ask.hold_ms),
        opens_run: fit.opens_run,
    };
    let limits = fit.new_limits.into_iter().map(LedgerEvent::from);
    limits.chain([reserved.into()]).collect()
}

/// What it is to wait for.
///
/// # Errors
/// It is not to wait.
fn waits_for(
    ledger: &Ledger,
    ask: &Ask,
    shortages: Vec<Shortage>,
    now: Timestamp,
) -> Result<Shortage, Refusal> {
    let downgrades = |shortage: &&Shortage| shortage.on_exhausted == OnExhausted::Downgrade;
    if let Some(shortage) = shortages.iter().find(downgrades) {
        return Err(Refusal {
            downgrade_to: cheaper(ledger, ask, now),
            ..shortage.clone().into()
        });
    }
    let cannot_wait = |shortage: &&Shortage| ask.step.is_none() || rejects(shortage);
    if let Some(shortage) = shortages.iter().find(cannot_wait) {
        return Err(shortage.clone().into());
    }
    // Nobody can be asked to wait for nothing: there is at least one shortage.
    let asks_person = |shortage: &&Shortage| shortage.on_exhausted == OnExhausted::Approve;
    let first = shortages.iter().find(asks_person).or(shortages.first());
    first
        .cloned()
        .ok_or_else(|| Refusal::from(nothing_short(ask)))
}

/// It rejects by its rule, or waiting is in vain: a line that moves only when budget returns never
/// gives more than the limit.
fn rejects(shortage: &Shortage) -> bool {
    match shortage.on_exhausted {
        OnExhausted::Reject | OnExhausted::Downgrade => true,
        OnExhausted::Park => shortage.needed > shortage.limit,
        OnExhausted::Approve => false,
    }
}

/// The dearest of the cheaper models for which no account wants a cheaper one still.
fn cheaper(ledger: &Ledger, ask: &Ask, now: Timestamp) -> Option<String> {
    let downgrades = |shortage: &Shortage| shortage.on_exhausted == OnExhausted::Downgrade;
    let fits = |model: &&super::Cheaper| {
        let shortages = fit(ledger, &ask.with(model), Rank::Newcomer, now).err();
        !shortages
            .into_iter()
            .flatten()
            .any(|short| downgrades(&short))
    };
    ask.cheaper
        .iter()
        .find(fits)
        .map(|model| model.model.clone())
}

fn nothing_short(ask: &Ask) -> Shortage {
    Shortage {
        scope: Scope::Tenant,
        window: Window::Lifetime,
        unit: Unit::Tokens,
        limit: 0,
        spent: 0,
        reserved: 0,
        needed: ask.input_tokens,
        on_exhausted: OnExhausted::Reject,
    }
}

/// After budget came back to these scopes: those who waited longest get it, as far as it goes.
/// `ledger` is the state with everything else of the commit taken in.
pub fn move_up(ledger: &Ledger, scopes: &[Scope], now: Timestamp) -> Vec<LedgerEvent> {
    if ledger.line.is_empty() {
        return vec![];
    }
    let mut draft = Draft::of(ledger, now);
    for scope in scopes {
        for window in Window::ALL {
            let key = AccountKey {
                scope: scope.clone(),
                window,
            };
            for unit in Unit::ALL {
                while draft.serve_first(&key, unit) {}
            }
        }
    }
    draft.events
}

/// After time passed: the same for every window that began anew.
pub(super) fn move_up_all(ledger: &Ledger, now: Timestamp) -> Vec<LedgerEvent> {
    let mut scopes: Vec<Scope> = ledger
        .line
        .queues()
        .map(|(key, _)| key.scope.clone())
        .collect();
    // The map has no order; the log must not depend on it.
    scopes.sort_unstable();
    scopes.dedup();
    move_up(ledger, &scopes, now)
}

/// A ledger while its next commit is being decided.
pub(super) struct Draft {
    pub(super) ledger: Ledger,
    pub(super) events: Vec<LedgerEvent>,
    now: Timestamp,
}

impl Draft {
    pub(super) fn of(ledger: &Ledger, now: Timestamp) -> Self {
        Self {
            ledger: ledger.clone(),
            events: vec![],
            now,
        }
    }

    pub(super) fn record(&mut self, event: LedgerEvent) {
        let at = Position {
            time: self.now,
            ..Position::default()
        };
        self.ledger.evolve(&event, at);
        self.events.push(event);
    }

    /// Serves whoever is first in a line; false when nobody is, or when there is too little.
    fn serve_first(&mut self, key: &AccountKey, unit: Unit) -> bool {
        let Some(first) = self.ledger.line.first(key, unit) else {
            return false;
        };
        let ask = first.ask.clone();
        match self.serve(&ask) {
            Ok(()) => true,
            Err(shortages) => {
                let still = |short: &Shortage| short.key() == *key && short.unit == unit;
                let closed = is_closed(&self.ledger, &ask, key);
                let moves = closed || !shortages.iter().any(still);
                if moves {
                    self.wait_for_another(ask, shortages);
                }
                moves
            }
        }
    }

    /// Serves one who waits, whatever his place.
    ///
    /// # Errors
    /// What has too little.
    pub(super) fn serve(&mut self, ask: &Ask) -> Result<(), Vec<Shortage>> {
        let fit = fit(&self.ledger, ask, Rank::Head, self.now)?;
        for event in granted(ask, fit, self.now) {
            self.record(event);
        }
        Ok(())
    }

    /// What it waited for is there, and something else is missing.
    pub(super) fn wait_for_another(&mut self, ask: Ask, shortages: Vec<Shortage>) {
        let reservation_id = ask.reservation_id;
        let event = match waits_for(&self.ledger, &ask, shortages, self.now) {
            Ok(shortage) => ReservationRequeued {
                reservation_id,
                shortage,
            }
            .into(),
            Err(refusal) => ReservationRefused {
                reservation_id,
                run_id: ask.step.map(|step| step.run.run_id),
                refusal,
                by: None,
            }
            .into(),
        };
        self.record(event);
    }
}
