//! Given what the ledger recorded, when somebody asks, then that is recorded and so much is left.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod approve;
mod downgrade;
mod hold;
mod in_flight;
mod limits;
mod line;
mod lowering;
mod reserve;
mod settle;
mod snapshot;
mod thresholds;
mod windows;

use super::*;
use crate::aggregate::{Aggregate, Event, Position};
use crate::catalog::Price;
use crate::command::{GrantBudget, RefuseBudget, RunRef, SetLimits, Settle};
use crate::error::DomainError;
use crate::ids::{ReservationId, RunId};
use crate::time::Timestamp;

/// A ledger, the time, and what was decided last.
#[derive(Clone)]
struct Story {
    ledger: Ledger,
    now: Timestamp,
    seq: u64,
    decided: Result<Vec<LedgerEvent>, Refusal>,
}

/// A ledger in which these scopes have lifetime limits of tokens.
fn given(limits: &[(Scope, u64)]) -> Story {
    let now = Timestamp::parse_rfc3339("2026-11-22T13:16:17Z").expect("a time");
    let empty = Story {
        ledger: Ledger::default(),
        now,
        seq: 0,
        decided: Ok(vec![]),
    };
    limits.iter().fold(empty, |story, (scope, tokens)| {
        story.set(scope.clone(), Window::Lifetime, tokens_only(*tokens))
    })
}

impl Story {
    fn record(mut self, events: Vec<LedgerEvent>) -> Self {
        self.seq += 1;
        for (event, index) in events.iter().zip(0..) {
            let at = Position {
                seq: self.seq,
                index,
                time: self.now,
            };
            self.ledger.evolve(event, at);
        }
        self.decided = Ok(events);
        self
    }

    fn after(mut self, millis: u64) -> Self {
        self.now = self.now.plus_millis(millis);
        self
    }

    fn set(self, scope: Scope, window: Window, limits: Limits) -> Self {
        let events = set_limits(
            &self.ledger,
            &SetLimits {
                scope,
                window,
                limits,
                on_exhausted: None,
                thresholds: None,
            },
            self.now,
        );
        self.record(events)
    }

    fn reserve(mut self, ask: &Ask) -> Self {
        match reserve(&self.ledger, ask, self.now) {
            Ok(events) => self.record(events),
            Err(refusal) => {
                self.decided = Err(refusal);
                self
            }
        }
    }

    fn settle(self, name: &str, spent: Amounts) -> Self {
        let settle = Settle {
            reservation_id: id(name),
            run_id: run(),
            spent,
            ends_run: false,
        };
        let events = super::settle(&self.ledger, &settle, self.now);
        self.record(events)
    }

    fn expire(self) -> Self {
        let events = expire(&self.ledger, self.now);
        self.record(events)
    }

    /// A lifetime limit, and what happens to what does not fit.
    fn with(self, scope: Scope, limits: Limits, on_exhausted: OnExhausted) -> Self {
        let set = SetLimits {
            scope,
            window: Window::Lifetime,
            limits,
            on_exhausted: Some(on_exhausted),
            thresholds: None,
        };
        let events = set_limits(&self.ledger, &set, self.now);
        self.record(events)
    }

    /// The last settlement of a run.
    fn end(self, name: &str, run_id: RunId) -> Self {
        let settle = Settle {
            reservation_id: id(name),
            run_id,
            spent: Amounts::default(),
            ends_run: true,
        };
        let events = super::settle(&self.ledger, &settle, self.now);
        self.record(events)
    }

    /// A person raises the limit for one who waits.
    fn grant(self, name: &str, amount: Option<u64>) -> Self {
        let events = self.granting(name, amount).expect("it can be granted");
        self.record(events)
    }

    fn granting(&self, name: &str, amount: Option<u64>) -> Result<Vec<LedgerEvent>, DomainError> {
        let command = GrantBudget {
            reservation_id: id(name),
            amount,
        };
        super::grant(&self.ledger, &command, self.now)
    }

    /// A person says no to one who waits.
    fn refuse(self, name: &str) -> Self {
        let command = RefuseBudget {
            reservation_id: id(name),
            reason: Some("too dear".into()),
        };
        let events = super::refuse(&self.ledger, &command, self.now);
        self.record(events.expect("it can be refused"))
    }

    /// It waits for this.
    #[track_caller]
    fn waits(self, name: &str, scope: Scope, unit: Unit) -> Self {
        let waiting = self.ledger.waiting(id(name)).expect("it waits");
        let shortage = &waiting.shortage;
        assert_eq!((&shortage.scope, shortage.unit), (&scope, unit));
        self
    }

    /// These are held, and no others.
    #[track_caller]
    fn holds(self, names: &[&str]) -> Self {
        let ids: std::collections::BTreeSet<_> = names.iter().map(|name| id(name)).collect();
        let held = self.ledger.reservations().map(|(&id, _)| id);
        assert_eq!(held.collect::<std::collections::BTreeSet<_>>(), ids);
        self
    }

    /// What became of one who waited.
    fn answer(&self, name: &str) -> Option<&Answer> {
        self.ledger.answer(id(name))
    }

    #[track_caller]
    fn then(self, types: &[&str]) -> Self {
        let events = self.decided.as_ref().expect("it was not refused");
        let short = |event: &LedgerEvent| {
            let name = event.type_name().strip_prefix("nexus.ledger.");
            let name = name.and_then(|name| name.strip_suffix(".v1"));
            name.expect("every type has prefix and version")
        };
        assert_eq!(events.iter().map(short).collect::<Vec<_>>(), types);
        self
    }

    #[track_caller]
    fn refused(self, scope: Scope, unit: &str, needed: u64) -> Self {
        let refusal = self.decided.as_ref().expect_err("it was to be refused");
        let short = &refusal.shortage;
        assert_eq!(
            (&short.scope, short.unit.as_str(), short.needed),
            (&scope, unit, needed)
        );
        self
    }

    /// The tokens that a scope holds and spent.
    #[track_caller]
    fn tokens(self, scope: &Scope, window: Window, reserved: u64, spent: u64) -> Self {
        let account = self.ledger.account(scope, window).expect("it has limits");
        let account = account.at(window, self.now);
        assert_eq!(
            (account.reserved.tokens, account.spent.tokens),
            (reserved, spent)
        );
        self
    }

    fn held(&self, name: &str) -> Option<&Reservation> {
        self.ledger.reservation(id(name))
    }
}

fn run() -> RunId {
    RunId::derive(&["run"])
}

fn id(name: &str) -> ReservationId {
    ReservationId::derive(&[name])
}

fn user() -> Scope {
    Scope::User("ada".into())
}

fn tokens_only(tokens: u64) -> Limits {
    Limits {
        tokens: Some(tokens),
        ..Limits::default()
    }
}

fn tokens(tokens: u64) -> Amounts {
    Amounts {
        tokens,
        ..Amounts::default()
    }
}

/// The same for another run of the same user.
fn asking_for(run_id: RunId, name: &str) -> Ask {
    Ask {
        step: Some(step_of(run_id)),
        scopes: vec![Scope::Tenant, user(), Scope::Run(run_id)],
        ..asking(name)
    }
}

/// Asks for a tool, which needs no tokens.
fn asking_tool(name: &str) -> Ask {
    Ask {
        model: None,
        input_tokens: 0,
        max_output_tokens: 0,
        min_output_tokens: 0,
        tool_calls: 1,
        ..asking(name)
    }
}

/// Asks for 100 tokens of prompt and up to 100 of answer, at least 10, without a price, and for up
/// to 60 seconds, at least one.
fn asking(name: &str) -> Ask {
    Ask {
        reservation_id: id(name),
        step: Some(step_of(run())),
        scopes: vec![Scope::Tenant, user(), Scope::Run(run())],
        own_limits: vec![],
        model: Some("small".into()),
        input_tokens: 100,
        max_output_tokens: 100,
        min_output_tokens: 10,
        time_ms: 60_000,
        min_time_ms: 1_000,
        extra_cost_usd_micros: 0,
        tool_calls: 0,
        price: Price::default(),
        cheaper: vec![],
        hold_ms: 90_000,
    }
}

fn own(scope: Scope, limits: Limits) -> OwnLimits {
    OwnLimits {
        scope,
        limits,
        on_exhausted: OnExhausted::Reject,
    }
}

/// The first turn of a run.
fn step_of(run_id: RunId) -> RunStep {
    RunStep {
        run: RunRef {
            run_id,
            first_seq: 1,
            last_seq: 1,
        },
        turn: 1,
        call_id: None,
    }
}
