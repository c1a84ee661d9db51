//! Budget for spending that happens outside: whoever calls a paid service himself holds first and
//! says afterwards what it was, under the same limits as every run.

use super::ask::Ask;
use super::settle::{Spending, spend};
use super::{Ledger, LedgerEvent, Refusal, Scope, reserve};
use crate::catalog::Price;
use crate::command::{HoldBudget, ReleaseBudget};
use crate::error::DomainError;
use crate::time::Timestamp;

/// Holds exactly these amounts, in the tenant and in every scope that is named.
///
/// # Errors
/// [`Refusal`]: the first account that has too little; nobody outside is made to wait.
pub fn hold(
    ledger: &Ledger,
    hold: &HoldBudget,
    now: Timestamp,
) -> Result<Vec<LedgerEvent>, Refusal> {
    let mut scopes = vec![Scope::Tenant];
    scopes.extend(
        hold.scopes
            .iter()
            .filter(|scope| **scope != Scope::Tenant)
            .cloned(),
    );
    let amounts = hold.amounts;
    let ask = Ask {
        reservation_id: hold.reservation_id,
        step: None,
        scopes,
        own_limits: vec![],
        model: hold.model.clone(),
        input_tokens: amounts.tokens,
        max_output_tokens: 0,
        min_output_tokens: 0,
        time_ms: amounts.time_ms,
        min_time_ms: amounts.time_ms,
        extra_cost_usd_micros: amounts.cost_usd_micros,
        tool_calls: amounts.tool_calls,
        price: Price::default(),
        cheaper: vec![],
        hold_ms: hold.hold_seconds().saturating_mul(1000),
    };
    reserve(ledger, &ask, now)
}

/// Accounts for what was spent of a hold; the rest goes back. Releasing twice is releasing once.
///
/// # Errors
/// [`DomainError::NotFound`]: nothing outside holds under this id, and nothing did lately.
pub fn release(
    ledger: &Ledger,
    release: &ReleaseBudget,
    now: Timestamp,
) -> Result<Vec<LedgerEvent>, DomainError> {
    let id = release.reservation_id;
    let held = ledger.reservation(id).or(ledger.expired(id));
    match held {
        Some(held) if held.run_id.is_none() => {
            let (spent, run_id) = (release.spent, None);
            Ok(spend(
                ledger,
                &Spending {
                    id,
                    run_id,
                    spent,
                    ends_run: false,
                },
                now,
            ))
        }
        None if ledger.was_settled(id) => Ok(vec![]),
        // A run's own reservation is nobody else's to settle.
        _ => Err(DomainError::NotFound {
            what: "hold",
            id: id.to_string(),
        }),
    }
}
