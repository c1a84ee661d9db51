//! What each command of a batch wants of the ledger, and what the ledger says to it.

use nexus_bus::{Delivery, Failure};
use nexus_events::command::{HoldBudget, Reserve};
use nexus_events::ledger::{self, Ask, Ledger, LedgerEvent, Refusal, Scope};
use nexus_events::run::{Granted, Reserved};
use nexus_events::{Actor, Aggregate, Command, DomainError, Position, ReservationId, Timestamp};

/// Scopes that somebody outside may name.
const MOST_SCOPES: usize = 16;
/// The tables hold signed numbers.
const MOST: u64 = i64::MAX.cast_unsigned();

/// What one command of the batch wants.
pub(crate) enum Wish {
    /// Hold this; then tell the run.
    Reserve(Reserve, Box<Ask>),
    /// Nothing: the run's step waits for no reservation (any more).
    Late(Reserve),
    /// Hold this for somebody outside.
    Hold(HoldBudget),
    /// Whatever needs nothing but the ledger.
    Order(Box<Command>, Actor),
}

/// What the ledger said to one of them.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It was decided, now or before.
    Decided,
    /// There is too little.
    Refused(Refusal),
    /// It cannot be.
    Rejected(DomainError),
}

impl Wish {
    /// Of a command that is not a run's.
    pub(crate) fn of(delivery: &Delivery) -> Result<Self, Failure> {
        match delivery.command.clone() {
            Command::HoldBudget(hold) => Ok(Self::Hold(checked(delivery, hold)?)),
            order @ (Command::Settle(_)
            | Command::EndRun(_)
            | Command::SetLimits(_)
            | Command::GrantBudget(_)
            | Command::RefuseBudget(_)
            | Command::ReleaseBudget(_)
            | Command::ExpireReservations(_)) => Ok(Self::Order(
                Box::new(order),
                delivery.envelope.actor.clone(),
            )),
            other => Err(Failure::dead(format!(
                "{} is not a command of the budget role",
                other.type_name()
            ))),
        }
    }

    fn decide(&self, ledger: &Ledger, now: Timestamp) -> Result<Vec<LedgerEvent>, Verdict> {
        match self {
            Self::Late(_) => Ok(vec![]),
            Self::Reserve(_, ask) => ledger::reserve(ledger, ask, now).map_err(Verdict::Refused),
            Self::Hold(hold) => ledger::hold(ledger, hold, now).map_err(Verdict::Refused),
            Self::Order(order, by) => {
                let decided = decide(ledger, order, now).map_err(Verdict::Rejected)?;
                Ok(decided
                    .into_iter()
                    .map(|event| event.asked_by(by))
                    .collect())
            }
        }
    }
}

fn decide(
    ledger: &Ledger,
    order: &Command,
    now: Timestamp,
) -> Result<Vec<LedgerEvent>, DomainError> {
    match order {
        Command::Settle(settle) => Ok(ledger::settle(ledger, settle, now)),
        Command::EndRun(end) => Ok(ledger::end_run(ledger, end, now)),
        Command::SetLimits(set) => Ok(ledger::set_limits(ledger, set, now)),
        Command::ExpireReservations(_) => Ok(ledger::expire(ledger, now)),
        Command::GrantBudget(grant) => ledger::grant(ledger, grant, now),
        Command::RefuseBudget(refuse) => ledger::refuse(ledger, refuse, now),
        Command::ReleaseBudget(release) => ledger::release(ledger, release, now),
        // `Wish::of` makes no orders of others.
        _ => Ok(vec![]),
    }
}

/// Decides all of them, one after another, on a draft of the ledger: the events of one commit, and
/// what is said to each.
pub(crate) fn decide_all(
    ledger: &Ledger,
    wishes: &[Result<Wish, Failure>],
    now: Timestamp,
) -> (Vec<LedgerEvent>, Vec<Verdict>) {
    let mut draft = ledger.clone();
    let mut events = vec![];
    let mut verdicts = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let decided = match wish {
            Ok(wish) => wish.decide(&draft, now),
            Err(_) => Ok(vec![]),
        };
        let (decided, verdict) = match decided {
            Ok(events) => (events, Verdict::Decided),
            Err(verdict) => (vec![], verdict),
        };
        verdicts.push(verdict);
        for event in decided {
            let at = Position {
                time: now,
                ..Position::default()
            };
            draft.evolve(&event, at);
            events.push(event);
        }
    }
    (events, verdicts)
}

/// What a run learns of its reservation; nothing where it was settled and whoever asks is late.
pub(crate) fn reserved(ledger: &Ledger, id: ReservationId, verdict: &Verdict) -> Option<Reserved> {
    if let Verdict::Refused(refusal) = verdict {
        return Some(Reserved::Refused(refusal.clone()));
    }
    if let Some(waiting) = ledger.waiting(id) {
        return Some(Reserved::Parked(waiting.shortage.clone()));
    }
    let held = ledger.reservation(id)?;
    Some(Reserved::Granted(Granted {
        reservation_id: id,
        amounts: held.amounts,
        max_output_tokens: held.max_output_tokens,
        expires_at: held.expires_at,
        ledger_seq: held.seq,
    }))
}

/// Whoever holds from outside holds on his own account too.
fn checked(delivery: &Delivery, mut hold: HoldBudget) -> Result<HoldBudget, Failure> {
    let invalid = |field, reason: &str| Failure::Reject(DomainError::invalid(field, reason));
    let amounts = hold.amounts;
    if amounts.is_zero() || amounts.runs > 0 {
        let reason = "name what is held: tokens, cost_usd_micros, time_ms or tool_calls";
        return Err(invalid("amounts", reason));
    }
    let all = [
        amounts.tokens,
        amounts.cost_usd_micros,
        amounts.time_ms,
        amounts.tool_calls,
    ];
    if all.into_iter().any(|amount| amount > MOST) {
        return Err(invalid("amounts", "an amount may have 63 bits"));
    }
    if hold.scopes.len() > MOST_SCOPES {
        return Err(invalid("scopes", "at most 16"));
    }
    if hold
        .hold_seconds
        .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
    {
        return Err(invalid("hold_seconds", "1 to 86,400"));
    }
    if let Some(key) = delivery.envelope.actor.key {
        hold.scopes.insert(0, Scope::Key(key));
    }
    let user = &delivery.envelope.actor.user;
    if !user.is_empty() {
        hold.scopes.insert(0, Scope::User(user.clone()));
    }
    let mut seen = std::collections::HashSet::new();
    hold.scopes.retain(|scope| seen.insert(scope.clone()));
    Ok(hold)
}
