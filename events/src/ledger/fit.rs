//! Whether a call fits into every account that it counts in, and how much of it does. What is left
//! may lower the answer's length and time; less than the minimum of either does not fit.

use super::ask::{Ask, Shortage};
use super::{
    Account, AccountKey, Amounts, Ledger, LimitsSet, OnExhausted, OwnLimits, Scope, Unit, Window,
};
use crate::time::Timestamp;

/// What a call may have.
pub(super) struct Fit {
    pub(super) output_tokens: u64,
    pub(super) amounts: Amounts,
    /// The first of a run that is not in flight yet.
    pub(super) opens_run: bool,
    /// Limits that the run brings and the ledger does not have yet.
    pub(super) new_limits: Vec<LimitsSet>,
}

/// Whether somebody who waits already goes first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// As everybody who comes now.
    Newcomer,
    /// It is this one's turn.
    Head,
}

/// How much of the call fits.
///
/// # Errors
/// Every account and unit that has too little.
pub(super) fn fit(
    ledger: &Ledger,
    ask: &Ask,
    rank: Rank,
    now: Timestamp,
) -> Result<Fit, Vec<Shortage>> {
    let new_limits = new_limits(ledger, ask);
    let opens_run = ask
        .step
        .as_ref()
        .is_some_and(|step| !ledger.is_in_flight(step.run.run_id));
    let least = ask.least().with(Unit::Runs, u64::from(opens_run));
    let (mut output, mut time_ms) = (ask.max_output_tokens, ask.time_ms);
    let mut shortages = vec![];
    let known = ledger
        .accounts_of(&ask.scopes)
        .map(|(scope, window, account)| {
            let key = AccountKey {
                scope: scope.clone(),
                window,
            };
            (key, account.at(window, now))
        });
    let new = new_limits.iter().map(|set| {
        let key = AccountKey {
            scope: set.scope.clone(),
            window: set.window,
        };
        let account = Account {
            limits: set.limits,
            on_exhausted: set.on_exhausted,
            reserved: ledger.held_before(set),
            ..Account::default()
        };
        (key, account)
    });
    let closed = closed(ledger, ask).map(|own| {
        let account = Account {
            limits: own.limits,
            spent: own.limits.all(),
            ..Account::default()
        };
        (own.key(), account)
    });
    for (key, account) in known.chain(new).chain(closed) {
        let left = account.limits.left(account.used());
        for unit in Unit::ALL {
            let (Some(left), needed) = (left.get(unit), least.get(unit)) else {
                continue;
            };
            if needed > 0 && (left < needed || others_first(ledger, &key, &account, unit, rank)) {
                shortages.push(shortage(&key, &account, unit, needed));
            } else if unit == Unit::Tokens {
                output = output.min(left.saturating_sub(ask.input_tokens));
            } else if unit == Unit::CostUsdMicros {
                output = output.min(ask.affordable_output(left));
            } else if unit == Unit::TimeMs {
                time_ms = time_ms.min(left);
            }
        }
    }
    if shortages.is_empty() {
        let amounts = ask.amounts(output, time_ms);
        Ok(Fit {
            output_tokens: output,
            amounts,
            opens_run,
            new_limits,
        })
    } else {
        Err(shortages)
    }
}

/// Nobody overtakes those who wait for an account that parks: small calls would starve a large one.
fn others_first(
    ledger: &Ledger,
    key: &AccountKey,
    account: &Account,
    unit: Unit,
    rank: Rank,
) -> bool {
    rank == Rank::Newcomer
        && account.on_exhausted == OnExhausted::Park
        && ledger.line.has_queue(key, unit)
}

fn shortage(key: &AccountKey, account: &Account, unit: Unit, needed: u64) -> Shortage {
    Shortage {
        scope: key.scope.clone(),
        window: key.window,
        unit,
        limit: account.limits.get(unit).unwrap_or_default(),
        spent: account.spent.get(unit),
        reserved: account.reserved.get(unit),
        needed,
        on_exhausted: account.on_exhausted,
    }
}

fn new_limits(ledger: &Ledger, ask: &Ask) -> Vec<LimitsSet> {
    let run = ask.step.as_ref().map(|step| step.run.run_id);
    let is_new = |own: &&OwnLimits| is_missing(ledger, own) && !is_parents(ask, own);
    (ask.own_limits.iter().filter(is_new))
        .map(|own| LimitsSet {
            scope: own.scope.clone(),
            window: Window::Lifetime,
            limits: own.limits,
            on_exhausted: own.on_exhausted,
            thresholds: Default::default(),
            brought_by: run,
            previous: None,
            by: None,
        })
        .collect()
}

/// A budget that somebody brings and the ledger does not have.
fn is_missing(ledger: &Ledger, own: &OwnLimits) -> bool {
    !own.limits.is_unlimited() && ledger.account(&own.scope, Window::Lifetime).is_none()
}

/// Budgets of runs that their child inherited, and that went with the runs: nothing of them is left.
/// They were there once, for only a run in flight takes a child. Bringing them anew would let everybody
/// spend them again who has not begun when his parent ends.
fn closed<'a>(ledger: &'a Ledger, ask: &'a Ask) -> impl Iterator<Item = &'a OwnLimits> {
    let own = ask.own_limits.iter();
    own.filter(move |own| is_parents(ask, own) && is_missing(ledger, own))
}

/// Whether this account is one of them.
pub(super) fn is_closed(ledger: &Ledger, ask: &Ask, key: &AccountKey) -> bool {
    closed(ledger, ask).any(|own| own.key() == *key)
}

fn is_parents(ask: &Ask, own: &OwnLimits) -> bool {
    let asks = ask.step.as_ref().map(|step| step.run.run_id);
    matches!(own.scope, Scope::Run(run) if Some(run) != asks)
}
