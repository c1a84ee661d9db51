//! What the ledger decides: reserve before, settle after, nothing leaks.

use super::{
    AccountKey, Amounts, BudgetOverrun, BudgetReserved, BudgetSettled, Ledger, LedgerEvent, Limits,
    LimitsSet, ReservationExpired, Scope, Window,
};
use crate::catalog::Price;
use crate::command::{SetLimits, Settle};
use crate::ids::{ReservationId, RunId};
use crate::model::Usage;
use crate::time::Timestamp;

/// What a model call wants to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who will spend.
    pub run_id: RunId,
    /// In which turn.
    pub turn: u32,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// Limits that come with the run and its session, set here when the ledger has none yet.
    pub own_limits: Vec<(Scope, Limits)>,
    /// Bound on the prompt's tokens.
    pub input_tokens: u64,
    /// Tokens that the answer may have, if budget allows.
    pub max_output_tokens: u64,
    /// Fewer than this many are not worth a call.
    pub min_output_tokens: u64,
    /// Time that the call may take, if budget allows.
    pub time_ms: u64,
    /// Less than this is not worth a call.
    pub min_time_ms: u64,
    /// What tokens cost.
    pub price: Price,
    /// How long the reservation may be held.
    pub hold_ms: u64,
}

/// Why a reservation was refused, with the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The scope that has too little.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// Which unit: `tokens`, `cost_usd_micros` or `time_ms`.
    pub unit: &'static str,
    /// The limit.
    pub limit: u64,
    /// What was spent.
    pub spent: u64,
    /// What is held.
    pub reserved: u64,
    /// The least that the call needs.
    pub needed: u64,
}

/// Holds what a call may spend, in all of its scopes or in none. What is left may lower the
/// answer's length and time; less than the minimum of either is a refusal.
///
/// No event: it is held already, or it was settled and whoever asks is late (then
/// [`Ledger::reservation`] has none).
///
/// # Errors
/// [`Refusal`]: the first account that has too little. Nothing is recorded then.
pub fn reserve(ledger: &Ledger, ask: &Ask, now: Timestamp) -> Result<Vec<LedgerEvent>, Refusal> {
    let id = ask.reservation_id;
    if ledger.reservation(id).is_some() || ledger.was_settled(id) {
        return Ok(vec![]);
    }
    let mut events: Vec<LedgerEvent> = new_limits(ledger, ask).map(LedgerEvent::from).collect();
    let mut output = ask.max_output_tokens;
    let mut time_ms = ask.time_ms;
    for (key, left, figures) in accounts(ledger, ask, now) {
        let min_output = ask.min_output_tokens.min(ask.max_output_tokens);
        let refuse = |unit, needed| figures.refusal(key.clone(), unit, needed);
        if let Some(tokens) = left.tokens {
            output = output.min(tokens.saturating_sub(ask.input_tokens));
            if output < min_output || tokens < ask.input_tokens {
                return Err(refuse(
                    Unit::Tokens,
                    ask.input_tokens.saturating_add(min_output),
                ));
            }
        }
        if let Some(cost) = left.cost_usd_micros {
            output = output.min(affordable_output(ask, cost));
            let least = cost_of(ask, min_output);
            if output < min_output || cost < least {
                return Err(refuse(Unit::Cost, least));
            }
        }
        if let Some(time) = left.time_ms {
            time_ms = time_ms.min(time);
            if time_ms < ask.min_time_ms {
                return Err(refuse(Unit::Time, ask.min_time_ms));
            }
        }
    }
    let amounts = Amounts {
        tokens: ask.input_tokens.saturating_add(output),
        cost_usd_micros: cost_of(ask, output),
        time_ms,
    };
    events.push(
        BudgetReserved {
            reservation_id: ask.reservation_id,
            run_id: ask.run_id,
            turn: ask.turn,
            scopes: ask.scopes.clone(),
            amounts,
            input_tokens: ask.input_tokens,
            max_output_tokens: output,
            expires_at: now.plus_millis(ask.hold_ms),
        }
        .into(),
    );
    Ok(events)
}

/// Accounts for what was spent. Settling twice is settling once; settling after expiry is spend.
pub fn settle(ledger: &Ledger, settle: &Settle) -> Vec<LedgerEvent> {
    let id = settle.reservation_id;
    let (held, late) = match (ledger.reservation(id), ledger.expired(id)) {
        (Some(held), _) => (held.amounts, false),
        (None, Some(_)) => (Amounts::default(), true),
        (None, None) => return vec![],
    };
    let run_id = settle.run_id;
    let settled = BudgetSettled {
        reservation_id: id,
        run_id,
        spent: settle.spent,
        late,
    };
    let mut events = vec![LedgerEvent::from(settled)];
    let excess = settle.spent.minus(held);
    if !late && !excess.is_zero() {
        events.push(
            BudgetOverrun {
                reservation_id: id,
                run_id,
                excess,
            }
            .into(),
        );
    }
    events
}

/// Returns what is held past its time.
pub fn expire(ledger: &Ledger, now: Timestamp) -> Vec<LedgerEvent> {
    let mut due: Vec<_> = ledger
        .reservations()
        .filter(|(_, held)| held.expires_at <= now)
        .collect();
    // The map has no order; the log must not depend on it.
    due.sort_by_key(|(id, _)| **id);
    due.into_iter()
        .map(|(id, held)| {
            let (run_id, amounts) = (held.run_id, held.amounts);
            ReservationExpired {
                reservation_id: *id,
                run_id,
                amounts,
            }
            .into()
        })
        .collect()
}

/// Sets limits; the same limits again are no event.
pub fn set_limits(ledger: &Ledger, set: &SetLimits) -> Vec<LedgerEvent> {
    match ledger.account(&set.scope, set.window) {
        Some(account) if account.limits == set.limits => vec![],
        None if set.limits.is_unlimited() => vec![],
        _ => {
            let SetLimits {
                scope,
                window,
                limits,
            } = set.clone();
            vec![
                LimitsSet {
                    scope,
                    window,
                    limits,
                    previous: ledger.account(&set.scope, set.window).map(|had| had.limits),
                    by: None,
                }
                .into(),
            ]
        }
    }
}

/// Limits that the run brings and the ledger does not have yet.
fn new_limits(ledger: &Ledger, ask: &Ask) -> impl Iterator<Item = LimitsSet> {
    ask.own_limits
        .iter()
        .filter(|(scope, limits)| {
            !limits.is_unlimited() && ledger.account(scope, Window::Lifetime).is_none()
        })
        .map(|(scope, limits)| LimitsSet {
            scope: scope.clone(),
            window: Window::Lifetime,
            limits: *limits,
            previous: None,
            by: None,
        })
}

/// Every account that the call counts in, with what is left of it at `now`.
fn accounts(ledger: &Ledger, ask: &Ask, now: Timestamp) -> Vec<(AccountKey, Limits, Figures)> {
    let known = ledger.accounts_of(&ask.scopes).map(|(key, account)| {
        let account = account.at(key.window, now);
        let figures = Figures {
            limits: account.limits,
            spent: account.spent,
            reserved: account.reserved,
        };
        (key, account.limits.left(account.used()), figures)
    });
    let new = new_limits(ledger, ask).map(|set| {
        let key = AccountKey {
            scope: set.scope,
            window: set.window,
        };
        let figures = Figures {
            limits: set.limits,
            spent: Amounts::default(),
            reserved: ledger.held_in(&key.scope),
        };
        (key, set.limits.left(figures.reserved), figures)
    });
    known.chain(new).collect()
}

fn cost_of(ask: &Ask, output: u64) -> u64 {
    ask.price.cost_usd_micros(&Usage {
        input_tokens: ask.input_tokens,
        output_tokens: output,
        ..Usage::default()
    })
}

/// How many output tokens this much money buys after the prompt is paid.
fn affordable_output(ask: &Ask, cost: u64) -> u64 {
    if ask.price.output == 0 {
        return ask.max_output_tokens;
    }
    let prompt = u128::from(ask.input_tokens) * u128::from(ask.price.input);
    let money = (u128::from(cost) * 1_000_000).saturating_sub(prompt);
    u64::try_from(money / u128::from(ask.price.output)).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
enum Unit {
    Tokens,
    Cost,
    Time,
}

struct Figures {
    limits: Limits,
    spent: Amounts,
    reserved: Amounts,
}

impl Figures {
    fn refusal(&self, key: AccountKey, unit: Unit, needed: u64) -> Refusal {
        let (name, limit, spent, reserved) = match unit {
            Unit::Tokens => (
                "tokens",
                self.limits.tokens,
                self.spent.tokens,
                self.reserved.tokens,
            ),
            Unit::Cost => (
                "cost_usd_micros",
                self.limits.cost_usd_micros,
                self.spent.cost_usd_micros,
                self.reserved.cost_usd_micros,
            ),
            Unit::Time => (
                "time_ms",
                self.limits.time_ms,
                self.spent.time_ms,
                self.reserved.time_ms,
            ),
        };
        Refusal {
            scope: key.scope,
            window: key.window,
            unit: name,
            limit: limit.unwrap_or_default(),
            spent,
            reserved,
            needed,
        }
    }
}
