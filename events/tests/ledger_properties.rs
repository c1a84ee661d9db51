//! Any sequence of what can happen to a ledger, with repetitions and in any order: no account ever
//! exceeds its limit but for what an overrun, a late settlement or a lowered limit explains, nobody
//! overtakes who waits, no settlement is lost, and nothing stays held.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod audit;

use std::collections::BTreeSet;

use audit::Audit;
use nexus_events::catalog::Price;
use nexus_events::command::{
    EndRun, GrantBudget, HoldBudget, RefuseBudget, ReleaseBudget, RunRef, SetLimits, Settle,
};
use nexus_events::ledger::{
    Amounts, Ask, Cheaper, Ledger, LedgerEvent, Limits, OnExhausted, OwnLimits, RunStep, Scope,
    Window, end_run, expire, grant, hold, refuse, release, reserve, set_limits, settle,
};
use nexus_events::{Aggregate, CommandId, Commit, ReservationId, RunId, Timestamp};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

/// What happens to the ledger.
#[derive(Clone, Debug)]
enum Act {
    /// One of twelve steps of four runs asks, or does so again.
    Reserve {
        number: u8,
        prompt: u16,
        answer: u16,
        tool: bool,
    },
    Settle {
        number: u8,
        spent: Amounts,
        ends_run: bool,
    },
    End {
        run: u8,
    },
    Expire,
    Set {
        scope: u8,
        window: u8,
        limits: Limits,
        on_exhausted: Option<OnExhausted>,
    },
    /// A person decides for one who waits, or does so late.
    Grant {
        number: u8,
        amount: Option<u16>,
    },
    Refuse {
        number: u8,
    },
    Hold {
        number: u8,
        amounts: Amounts,
    },
    Release {
        number: u8,
        spent: Amounts,
    },
    /// From here on a ledger that was written and read decides the same.
    Save,
    Pass {
        millis: u32,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let amount = || 0..3_000_u16;
    prop_oneof![
        8 => (any::<u8>(), amount(), amount(), proptest::bool::weighted(0.3)).prop_map(|(number, prompt, answer, tool)| Act::Reserve { number, prompt, answer, tool }),
        5 => (any::<u8>(), spent(), any::<bool>())
            .prop_map(|(number, spent, ends_run)| Act::Settle { number, spent, ends_run }),
        1 => (0..4_u8).prop_map(|run| Act::End { run }),
        1 => Just(Act::Expire),
        2 => (any::<u8>(), 0..4_u8, limits(), weighted(0.7, mode()))
            .prop_map(|(scope, window, limits, on_exhausted)| Act::Set { scope, window, limits, on_exhausted }),
        1 => (any::<u8>(), weighted(0.5, amount())).prop_map(|(number, amount)| Act::Grant { number, amount }),
        1 => any::<u8>().prop_map(|number| Act::Refuse { number }),
        1 => (0..3_u8, spent()).prop_map(|(number, amounts)| Act::Hold { number, amounts }),
        1 => (0..3_u8, spent()).prop_map(|(number, spent)| Act::Release { number, spent }),
        1 => Just(Act::Save),
        2 => prop_oneof![
            5 => 0..30_000_u32,
            2 => 0..4_000_000_u32,
            1 => 80_000_000..3_000_000_000_u32,
        ]
        .prop_map(|millis| Act::Pass { millis }),
    ]
}

fn mode() -> impl Strategy<Value = OnExhausted> {
    prop_oneof![
        1 => Just(OnExhausted::Reject),
        4 => Just(OnExhausted::Park),
        1 => Just(OnExhausted::Downgrade),
        2 => Just(OnExhausted::Approve),
    ]
}

fn spent() -> impl Strategy<Value = Amounts> {
    (0..3_000_u64, 0..3_000_u64, 0..90_000_u64, 0..3_u64).prop_map(
        |(tokens, cost_usd_micros, time_ms, tool_calls)| Amounts {
            tokens,
            cost_usd_micros,
            time_ms,
            tool_calls,
            runs: 0,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = |chance, most: u64| weighted(chance, 0..most);
    (
        limit(0.8, 8_000),
        limit(0.5, 8_000),
        limit(0.3, 300_000),
        limit(0.2, 5),
        limit(0.2, 4),
    )
        .prop_map(
            |(tokens, cost_usd_micros, time_ms, tool_calls, runs)| Limits {
                tokens,
                cost_usd_micros,
                time_ms,
                tool_calls,
                runs,
            },
        )
}

/// A ledger, its log, and the account that is kept beside it.
struct Books {
    ledger: Ledger,
    /// One that was written and read, and goes on beside it.
    twin: Option<Ledger>,
    audit: Audit,
    log: Vec<Commit<LedgerEvent>>,
    now: Timestamp,
    own: Own,
    began: BTreeSet<RunId>,
}

/// What each run brings.
type Own = Vec<Option<(u16, OnExhausted)>>;

fn own() -> impl Strategy<Value = Own> {
    vec(weighted(0.5, (0..8_000_u16, mode())), 4)
}

fn run_of(number: u8) -> RunId {
    RunId::derive(&[&(number % 12 % 4).to_string()])
}

fn id_of(number: u8) -> ReservationId {
    ReservationId::derive(&[&(number % 12).to_string()])
}

fn hold_of(number: u8) -> ReservationId {
    ReservationId::derive(&["hold", &number.to_string()])
}

/// Four runs of two users, in two sessions; the last one works for the first.
fn scopes_of(number: u8) -> Vec<Scope> {
    let run = number % 12 % 4;
    let mut scopes = vec![
        Scope::Tenant,
        Scope::User((run % 2).to_string()),
        Scope::Session(RunId::derive(&[&(run % 2).to_string()]).own_session()),
        Scope::Run(run_of(number)),
    ];
    if run == 3 {
        scopes.push(Scope::Run(run_of(0)));
    }
    scopes
}

fn all_scopes() -> Vec<Scope> {
    let all: BTreeSet<Scope> = (0..4).flat_map(scopes_of).collect();
    all.into_iter().collect()
}

impl Books {
    fn after(own: Own, acts: &[Act]) -> Self {
        let mut books = Self {
            ledger: Ledger::default(),
            twin: None,
            audit: Audit::default(),
            log: vec![],
            now: Timestamp::from_millis(1_795_353_377_328),
            own,
            began: BTreeSet::new(),
        };
        acts.iter().for_each(|act| books.act(act));
        books
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::End { run } => self.give_up(run),
            Act::Settle {
                number,
                ends_run: true,
                ..
            } => self.give_up(number),
            _ => {}
        }
        self.decide_and_commit(act);
    }

    /// A run that ends waits for nothing any more.
    fn give_up(&mut self, run: u8) {
        let waits = |number: &u8| run_of(*number) == run_of(run);
        for number in (0..12).filter(waits) {
            if self.ledger.waiting(id_of(number)).is_some() {
                let spent = Amounts::default();
                self.decide_and_commit(&Act::Settle {
                    number,
                    spent,
                    ends_run: false,
                });
            }
        }
    }

    fn decide_and_commit(&mut self, act: &Act) {
        let events = self.decide(&self.ledger, act);
        let again = self.decide(&self.ledger, act);
        assert_eq!(events, again, "the same question has the same answer");
        if let Some(twin) = &self.twin {
            assert_eq!(
                self.decide(twin, act),
                events,
                "a snapshot decides the same"
            );
        }
        let favoured = match act {
            Act::Grant { number, .. } | Act::Refuse { number } => self.who_waits(*number),
            _ => None,
        };
        self.audit.lines.favour(favoured);
        self.commit(events);
        match act {
            Act::Expire => self.audit.nobody_waits_in_vain(Some(self.now)),
            Act::Pass { millis } => self.now = self.now.plus_millis(u64::from(*millis)),
            Act::Save => {
                let bytes = self.ledger.save().expect("a ledger is JSON");
                self.twin = Some(Ledger::restore(&bytes).expect("what was written can be read"));
            }
            _ => {}
        }
    }

    /// One of those who wait, where anybody does.
    fn who_waits(&self, number: u8) -> Option<ReservationId> {
        let waiting: Vec<_> = self.audit.lines.ids().collect();
        let place = usize::from(number).checked_rem(waiting.len());
        place.and_then(|place| waiting.get(place)).copied()
    }

    fn decide(&self, ledger: &Ledger, act: &Act) -> Vec<LedgerEvent> {
        let now = self.now;
        let who = |number: u8| self.who_waits(number).unwrap_or_else(|| id_of(number));
        match act.clone() {
            Act::Reserve {
                number,
                prompt,
                answer,
                tool,
            } => {
                if !self.may_ask(run_of(number)) {
                    return vec![];
                }
                let ask = ask(number, prompt, answer, tool, &self.own);
                reserve(ledger, &ask, now).unwrap_or_default()
            }
            Act::Settle {
                number,
                spent,
                ends_run,
            } => {
                let (reservation_id, run_id) = (id_of(number), run_of(number));
                let command = Settle {
                    reservation_id,
                    run_id,
                    spent,
                    ends_run,
                };
                settle(ledger, &command, now)
            }
            Act::End { run } => {
                let run_id = run_of(run);
                end_run(ledger, &EndRun { run_id }, now)
            }
            Act::Expire => expire(ledger, now),
            Act::Set {
                scope,
                window,
                limits,
                on_exhausted,
            } => {
                let scopes = all_scopes();
                let command = SetLimits {
                    scope: scopes[usize::from(scope) % scopes.len()].clone(),
                    window: Window::ALL[usize::from(window)],
                    limits,
                    on_exhausted,
                    thresholds: None,
                };
                set_limits(ledger, &command, now)
            }
            Act::Grant { number, amount } => {
                let command = GrantBudget {
                    reservation_id: who(number),
                    amount: amount.map(u64::from),
                };
                grant(ledger, &command, now).unwrap_or_default()
            }
            Act::Refuse { number } => {
                let command = RefuseBudget {
                    reservation_id: who(number),
                    reason: None,
                };
                refuse(ledger, &command, now).unwrap_or_default()
            }
            Act::Hold { number, amounts } => {
                let command = HoldBudget {
                    reservation_id: hold_of(number),
                    scopes: vec![Scope::User("0".into())],
                    amounts,
                    model: None,
                    hold_seconds: Some(120),
                };
                hold(ledger, &command, now).unwrap_or_default()
            }
            Act::Release { number, spent } => {
                let reservation_id = hold_of(number);
                let command = ReleaseBudget {
                    reservation_id,
                    spent,
                };
                release(ledger, &command, now).unwrap_or_default()
            }
            Act::Save | Act::Pass { .. } => vec![],
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
            self.ledger.evolve(&recorded.event, recorded.at);
            if let Some(twin) = &mut self.twin {
                twin.evolve(&recorded.event, recorded.at);
            }
            self.audit
                .observe(&recorded.event, recorded.at, &self.ledger);
        }
        self.audit.nobody_waits_in_vain(None);
        self.began.extend(self.audit.in_flight());
        self.log.push(commit);
    }

    /// A child begins when its parent is in flight or was, and a parent does not come back.
    fn may_ask(&self, run: RunId) -> bool {
        let (parent, child) = (run_of(0), run_of(3));
        let began = self.began.contains(&parent);
        let goes_on = self.audit.in_flight().any(|run| run == parent);
        match run {
            _ if run == parent => goes_on || !began,
            _ if run == child => began,
            _ => true,
        }
    }

    fn view(&self, ledger: &Ledger) -> String {
        let ids = (0..12).map(id_of).chain((0..3).map(hold_of));
        let runs: Vec<_> = (0..4).map(run_of).collect();
        audit::view(ledger, &all_scopes(), &ids.collect::<Vec<_>>(), &runs)
    }

    /// Nothing is held, nobody waits, and no run is in flight.
    fn is_at_rest(&self) -> bool {
        let scopes = all_scopes();
        let mut accounts = self.ledger.accounts_of(&scopes);
        self.ledger.reservations().count() == 0
            && self.ledger.all_waiting().count() == 0
            && self.audit.in_flight().count() == 0
            && accounts.all(|(.., account)| account.reserved.is_zero())
    }
}

/// Asks for a model call at a price, or for a tool.
fn ask(number: u8, prompt: u16, answer: u16, tool: bool, own: &Own) -> Ask {
    let scopes = scopes_of(number);
    // Its own budget, and its parent's.
    let own = (0..4).zip(own).filter_map(|(run, own)| {
        let (tokens, on_exhausted) = (*own)?;
        let limits = Limits {
            tokens: Some(tokens.into()),
            ..Limits::default()
        };
        Some(OwnLimits {
            scope: Scope::Run(run_of(run)),
            limits,
            on_exhausted,
        })
    });
    let own_limits = own.filter(|own| scopes.contains(&own.scope)).collect();
    let cheaper = Cheaper {
        model: "small".into(),
        price: Price::default(),
        max_output_tokens: 500,
    };
    let call = Ask {
        reservation_id: id_of(number),
        step: Some(RunStep {
            run: RunRef {
                run_id: run_of(number),
                first_seq: 1,
                last_seq: 1,
            },
            turn: 1,
            call_id: None,
        }),
        own_limits,
        scopes,
        model: Some("large".into()),
        input_tokens: prompt.into(),
        max_output_tokens: answer.into(),
        min_output_tokens: 16,
        time_ms: 60_000,
        min_time_ms: 1_000,
        extra_cost_usd_micros: 0,
        tool_calls: 0,
        price: Price {
            input: 500_000,
            cached_input: 0,
            output: 1_500_000,
            ..Price::default()
        },
        cheaper: vec![cheaper],
        hold_ms: 120_000,
    };
    if !tool {
        return call;
    }
    Ask {
        model: None,
        input_tokens: 0,
        max_output_tokens: 0,
        tool_calls: 1,
        cheaper: vec![],
        ..call
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// The audit compares every account and every line after every event.
    #[test]
    fn never_overspent_nobody_overtakes_and_nothing_is_lost(own in own(), acts in vec(act(), 1..80)) {
        let mut books = Books::after(own, &acts);
        // Then everything is settled, or given up.
        for number in 0..12 {
            let spent = Amounts { tokens: 10, cost_usd_micros: 10, time_ms: 10, ..Amounts::default() };
            books.act(&Act::Settle { number, spent, ends_run: true });
        }
        for number in 0..3 {
            books.act(&Act::Release { number, spent: Amounts::default() });
        }
        prop_assert!(books.is_at_rest());
        prop_assert!(books.audit.settlements.values().all(|times| *times == 1));
    }

    #[test]
    fn what_nobody_settles_goes_back_by_itself(own in own(), acts in vec(act(), 1..80)) {
        let mut books = Books::after(own, &acts);
        // What was spent is forgotten in every window, the month's too: no turn of one serves anybody
        // later than what goes back does.
        books.act(&Act::Pass { millis: 32 * 24 * 3_600_000 });
        books.act(&Act::Expire);
        // What goes back serves those who wait, each once.
        for _ in 0..13 {
            books.act(&Act::Pass { millis: 120_000 });
            books.act(&Act::Expire);
        }
        prop_assert_eq!(books.ledger.reservations().count(), 0);
        // Whoever still waits gives up.
        for number in 0..12 {
            let spent = Amounts::default();
            books.act(&Act::Settle { number, spent, ends_run: true });
        }
        prop_assert!(books.is_at_rest());
        prop_assert_eq!(books.ledger.next_due(books.now), None);
    }

    /// What is recorded, written and read again is the same ledger, and decides the same.
    #[test]
    fn a_replay_is_the_live_ledger(own in own(), acts in vec(act(), 1..50)) {
        let books = Books::after(own, &acts);
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
        let bytes = replayed.save().expect("a ledger is JSON");
        let restored = Ledger::restore(&bytes).expect("what was written can be read");
        prop_assert_eq!(books.view(&restored), books.view(&books.ledger));
    }
}
