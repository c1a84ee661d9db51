//! Any sequence of what can happen to a ledger, with repetitions and in any order: no account ever
//! exceeds its limit but for what an overrun, a late settlement or a lowered limit explains, no
//! settlement is lost, and nothing stays held.
#![expect(clippy::expect_used, reason = "a test may fail")]

mod audit;

use std::collections::BTreeSet;

use audit::Audit;
use nexus_events::catalog::Price;
use nexus_events::command::{SetLimits, Settle};
use nexus_events::ledger::{
    Amounts, Ask, Ledger, LedgerEvent, Limits, Scope, Window, expire, reserve, set_limits, settle,
};
use nexus_events::{Aggregate, CommandId, Commit, ReservationId, RunId, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

/// What happens to the ledger.
#[derive(Clone, Debug)]
enum Act {
    Reserve {
        number: u8,
        prompt: u16,
        answer: u16,
        own: Option<u16>,
    },
    Settle {
        number: u8,
        spent: (u16, u16, u32),
    },
    Expire,
    Set {
        scope: u8,
        window: u8,
        tokens: Option<u16>,
        cost: Option<u16>,
        time: Option<u32>,
    },
    Pass {
        millis: u32,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let amount = 0..3_000_u16;
    let limit = || proptest::option::weighted(0.8, 0..8_000_u16);
    prop_oneof![
        5 => (any::<u8>(), amount.clone(), amount.clone(), proptest::option::weighted(0.3, 0..8_000_u16))
            .prop_map(|(number, prompt, answer, own)| Act::Reserve { number, prompt, answer, own }),
        4 => (any::<u8>(), (amount.clone(), amount, 0..90_000_u32))
            .prop_map(|(number, spent)| Act::Settle { number, spent }),
        1 => Just(Act::Expire),
        1 => (0..6_u8, 0..4_u8, limit(), limit(), proptest::option::weighted(0.3, 0..300_000_u32))
            .prop_map(|(scope, window, tokens, cost, time)| {
                Act::Set { scope, window, tokens, cost, time }
            }),
        2 => prop_oneof![
            5 => 0..30_000_u32,
            2 => 0..4_000_000_u32,
            1 => 80_000_000..3_000_000_000_u32,
        ]
        .prop_map(|millis| Act::Pass { millis }),
    ]
}

/// A ledger, its log, and the account that is kept beside it.
struct Books {
    ledger: Ledger,
    audit: Audit,
    log: Vec<Commit<LedgerEvent>>,
    now: Timestamp,
    spent_by_runs: Vec<(Vec<Scope>, Amounts)>,
}

/// Twelve reservations of four runs of two users, in two sessions.
fn run_of(number: u8) -> RunId {
    RunId::derive(&[&(number % 12 % 4).to_string()])
}

fn id_of(number: u8) -> ReservationId {
    ReservationId::derive(&[&(number % 12).to_string()])
}

fn scopes_of(number: u8) -> Vec<Scope> {
    let run = number % 12 % 4;
    vec![
        Scope::Tenant,
        Scope::User((run % 2).to_string()),
        Scope::Session(RunId::derive(&[&(run % 2).to_string()]).own_session()),
        Scope::Run(run_of(number)),
    ]
}

fn all_scopes() -> Vec<Scope> {
    let all: BTreeSet<Scope> = (0..4).flat_map(scopes_of).collect();
    all.into_iter().collect()
}

impl Books {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            audit: Audit::default(),
            log: vec![],
            now: Timestamp::from_millis(1_795_353_377_328),
            spent_by_runs: vec![],
        }
    }

    fn act(&mut self, act: &Act) {
        let decide = |books: &Self| books.decide(act);
        let events = decide(self);
        let again = decide(self);
        assert_eq!(events, again, "the same question has the same answer");
        self.commit(events);
        if let Act::Pass { millis } = act {
            self.now = self.now.plus_millis(u64::from(*millis));
        }
    }

    fn decide(&self, act: &Act) -> Vec<LedgerEvent> {
        match *act {
            Act::Reserve {
                number,
                prompt,
                answer,
                own,
            } => {
                let own = own.map(|tokens| limits(Some(tokens), None, None));
                let ask = ask(number, prompt, answer, own);
                reserve(&self.ledger, &ask, self.now).unwrap_or_default()
            }
            Act::Settle {
                number,
                spent: (tokens, cost, time_ms),
            } => {
                let spent = Amounts {
                    tokens: tokens.into(),
                    cost_usd_micros: cost.into(),
                    time_ms: time_ms.into(),
                };
                let (reservation_id, run_id) = (id_of(number), run_of(number));
                settle(
                    &self.ledger,
                    &Settle {
                        reservation_id,
                        run_id,
                        spent,
                    },
                )
            }
            Act::Expire => expire(&self.ledger, self.now),
            Act::Set {
                scope,
                window,
                tokens,
                cost,
                time,
            } => {
                let scopes = all_scopes();
                let scope = scopes[usize::from(scope) % scopes.len()].clone();
                let window = Window::ALL[usize::from(window)];
                let limits = limits(tokens, cost, time);
                set_limits(
                    &self.ledger,
                    &SetLimits {
                        scope,
                        window,
                        limits,
                    },
                )
            }
            Act::Pass { .. } => vec![],
        }
    }

    fn commit(&mut self, events: Vec<LedgerEvent>) {
        if events.is_empty() {
            return;
        }
        let seq = self.log.len() as u64 + 1;
        let causation = CommandId::derive("act", &seq.to_string());
        let commit = Commit {
            id: seq.to_string(),
            causation,
            correlation: None,
            time: self.now,
            traceparent: None,
            actor: None,
            events,
        };
        for recorded in commit.recorded(seq) {
            self.note_spend(&recorded.event);
            self.ledger.evolve(&recorded.event, recorded.at);
            self.audit
                .observe(&recorded.event, recorded.at, &self.ledger);
        }
        self.log.push(commit);
    }

    fn note_spend(&mut self, event: &LedgerEvent) {
        if let LedgerEvent::BudgetSettled(settled) = event {
            let held = self.ledger.reservation(settled.reservation_id);
            let held = held.or(self.ledger.expired(settled.reservation_id));
            let scopes = held.expect("only what is known is settled").scopes.clone();
            self.spent_by_runs.push((scopes, settled.spent));
        }
    }

    fn view(&self, ledger: &Ledger) -> String {
        let ids: Vec<_> = (0..12).map(id_of).collect();
        audit::view(ledger, &all_scopes(), &ids)
    }
}

fn limits(tokens: Option<u16>, cost: Option<u16>, time: Option<u32>) -> Limits {
    Limits {
        tokens: tokens.map(u64::from),
        cost_usd_micros: cost.map(u64::from),
        time_ms: time.map(u64::from),
    }
}

fn ask(number: u8, prompt: u16, answer: u16, own: Option<Limits>) -> Ask {
    let scopes = scopes_of(number);
    let own_limits = own
        .into_iter()
        .zip(&scopes[3..])
        .map(|(limits, scope)| (scope.clone(), limits));
    Ask {
        reservation_id: id_of(number),
        run_id: run_of(number),
        turn: 1,
        own_limits: own_limits.collect(),
        scopes,
        input_tokens: prompt.into(),
        max_output_tokens: answer.into(),
        min_output_tokens: 16,
        time_ms: 60_000,
        min_time_ms: 1_000,
        price: Price {
            input: 500_000,
            cached_input: 0,
            output: 1_500_000,
        },
        hold_ms: 120_000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// The audit compares every account after every event.
    #[test]
    fn never_overspent_and_nothing_lost(acts in vec(act(), 1..60)) {
        let mut books = Books::new();
        acts.iter().for_each(|act| books.act(act));
        let settled: u32 = books.audit.settlements.values().sum();
        prop_assert_eq!(settled as usize, books.spent_by_runs.len());
        // Then everything is settled, or its time is over.
        for number in 0..12 {
            books.act(&Act::Settle { number, spent: (10, 10, 10) });
        }
        prop_assert!(books.audit.nothing_is_held());
        prop_assert_eq!(books.ledger.reservations().count(), 0);
    }

    #[test]
    fn what_nobody_settles_goes_back_by_itself(acts in vec(act(), 1..60)) {
        let mut books = Books::new();
        acts.iter().for_each(|act| books.act(act));
        books.act(&Act::Pass { millis: 120_000 });
        books.act(&Act::Expire);
        prop_assert!(books.audit.nothing_is_held());
        prop_assert_eq!(books.ledger.next_expiry(), None);
    }

    /// What is recorded, written and read again is the same ledger, and decides the same.
    #[test]
    fn a_replay_is_the_live_ledger(acts in vec(act(), 1..40)) {
        let mut books = Books::new();
        acts.iter().for_each(|act| books.act(act));
        let mut replayed = Ledger::default();
        for (commit, seq) in books.log.iter().zip(1..) {
            let body = commit.encode("test", "subject").expect("events are JSON");
            let read = Commit::<LedgerEvent>::decode(&body).expect("what was written can be read");
            prop_assert_eq!(&read, commit);
            for recorded in read.recorded(seq) {
                replayed.evolve(&recorded.event, recorded.at);
            }
        }
        prop_assert_eq!(books.view(&replayed), books.view(&books.ledger));
    }
}
