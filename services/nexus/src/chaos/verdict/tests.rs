//! Each check finds what it is there for: a story that is in order is told, and then told wrongly.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use nexus_events::ledger::{
    Amounts, BudgetReserved, BudgetSettled, LedgerEvent, Limits, LimitsSet, Scope, Window,
};
use nexus_events::run::{PolicyPoint, RunEvent, ToolCompleted, ToolInDoubt, ToolStarted};
use nexus_events::{
    AggregateId, AggregateKind, Body, CommandId, Commit, Event, ReservationId, RunId, Tenant,
    Timestamp, subject,
};
use nexus_projections::LogCommit;
use serde_json::json;

use super::super::facts::Facts;
use super::super::load;
use super::super::logbook::Logged;
use super::super::people::Asked;
use super::super::witness::{Effect, Tool};
use super::*;

fn tenant() -> Tenant {
    "default".parse().unwrap()
}

fn run() -> RunId {
    RunId::derive(&["a run"])
}

fn reservation() -> ReservationId {
    ReservationId::derive(&["held"])
}

/// A log that is written by hand.
#[derive(Default)]
struct Log(Facts);

impl Log {
    fn commit<E: Event>(mut self, kind: AggregateKind, id: &AggregateId, events: Vec<E>) -> Self {
        let seq = self.0.book.last_seq + 1;
        let subject = subject::events(&tenant(), kind, id);
        let before = self
            .0
            .book
            .log
            .iter()
            .rfind(|logged| logged.subject == subject);
        let follows = before.map_or(0, |logged| logged.commit.seq);
        let commit = Commit {
            id: format!("commit-{seq}"),
            causation: CommandId::derive("command", &seq.to_string()),
            correlation: None,
            time: Timestamp::from_millis(1_000),
            traceparent: None,
            actor: None,
            events,
        };
        let body = commit.encode("test", &subject).unwrap();
        let commit = LogCommit::decode(&subject, seq, &body).unwrap();
        self.0.book.log.push(Logged {
            subject,
            body,
            follows: Some(follows),
            commit,
        });
        self.0.book.last_seq = seq;
        self
    }

    fn run(self, event: impl Into<RunEvent>) -> Self {
        self.commit(AggregateKind::Run, &run().into(), vec![event.into()])
    }

    fn ledger(self, event: impl Into<LedgerEvent>) -> Self {
        self.commit(
            AggregateKind::Ledger,
            &AggregateId::ONLY,
            vec![event.into()],
        )
    }

    fn effect(mut self, tool: Tool) -> Self {
        self.0.effects.push(Effect {
            tool: tool.name().to_owned(),
            version: "1.0.0".to_owned(),
            tenant: "default".to_owned(),
            run_id: run(),
            turn: 1,
            call_id: "a".to_owned(),
            key: "key".to_owned(),
        });
        self
    }
}

fn tokens(tokens: u64) -> Amounts {
    Amounts {
        tokens,
        ..Amounts::default()
    }
}

fn limited(tokens: u64) -> LimitsSet {
    LimitsSet {
        scope: Scope::Tenant,
        window: Window::Lifetime,
        limits: Limits {
            tokens: Some(tokens),
            ..Limits::default()
        },
        on_exhausted: Default::default(),
        thresholds: Default::default(),
        brought_by: None,
        previous: None,
        by: None,
    }
}

fn held(amount: u64) -> BudgetReserved {
    BudgetReserved {
        reservation_id: reservation(),
        run_id: Some(run()),
        turn: 1,
        call_id: None,
        model: None,
        scopes: vec![Scope::Tenant],
        amounts: tokens(amount),
        input_tokens: 0,
        max_output_tokens: 0,
        expires_at: Timestamp::from_millis(900_000),
        opens_run: false,
    }
}

fn settled(amount: u64) -> BudgetSettled {
    BudgetSettled {
        reservation_id: reservation(),
        run_id: Some(run()),
        spent: tokens(amount),
        late: false,
        ends_run: false,
    }
}

fn started(tool: Tool, attempt: u32) -> ToolStarted {
    ToolStarted {
        turn: 1,
        call_id: "a".to_owned(),
        tool: tool.name().to_owned(),
        version: "1.0.0".to_owned(),
        attempt,
    }
}

fn completed() -> ToolCompleted {
    ToolCompleted {
        turn: 1,
        call_id: "a".to_owned(),
        output: Body::from("{}".to_owned()),
        duration_ms: 1,
        tokens: None,
        reused: None,
    }
}

#[test]
fn an_accepted_run_that_was_lost_is_found() {
    let specs = load::load(1, 3, 60_000);
    let mut facts = Facts {
        specs,
        ..Facts::default()
    };
    assert_eq!(runs::answered(&facts).breaches, 3);
    assert_eq!(runs::ended(&facts).breaches, 0);
    facts.asked.insert(0, Asked::Accepted);
    assert_eq!(runs::answered(&facts).breaches, 2);
    let row = runs::ended(&facts);
    assert_eq!((row.checked, row.breaches), (1, 1));
    assert!(row.named[0].contains("never begun"), "{row:?}");
}

#[test]
fn a_commit_that_expected_something_else_is_found() {
    let log = || Log::default().ledger(limited(10)).ledger(held(5));
    assert_eq!(runs::in_order(&log().0).breaches, 0);
    let mut facts = log().0;
    facts.book.log[1].follows = None;
    assert_eq!(runs::in_order(&facts).breaches, 1);
    facts.book.log[1].follows = Some(0);
    assert_eq!(runs::in_order(&facts).breaches, 1);
}

#[test]
fn more_than_a_limit_is_found_at_its_sequence() {
    let fits = Log::default().ledger(limited(10)).ledger(held(10));
    assert_eq!(ledger::within_limits(&fits.0).breaches, 0);
    assert_eq!(ledger::nothing_held(&fits.0).breaches, 1);
    let row = ledger::within_limits(&Log::default().ledger(limited(9)).ledger(held(10)).0);
    assert_eq!(row.breaches, 1);
    assert!(row.named[0].starts_with("default at 2:"), "{row:?}");
}

#[test]
fn settling_twice_or_without_a_hold_is_found() {
    let once = Log::default().ledger(held(5)).ledger(settled(3));
    assert_eq!(ledger::settled_once(&once.0).breaches, 0);
    assert_eq!(ledger::settled_once(&once.ledger(settled(3)).0).breaches, 1);
    let never = Log::default().ledger(settled(3));
    assert_eq!(ledger::settled_once(&never.0).breaches, 1);
    // What was settled is not what any run used.
    assert_eq!(ledger::spent_is_used(&never.0).breaches, 1);
}

#[test]
fn a_second_effect_of_what_must_not_happen_twice_is_found() {
    let once = |tool| Log::default().run(started(tool, 1)).effect(tool);
    assert_eq!(
        tools::effects(&once(Tool::Pay).run(completed()).0).breaches,
        0
    );
    let twice = |tool| once(tool).effect(tool).run(completed());
    assert_eq!(tools::effects(&twice(Tool::Pay).0).breaches, 1);
    assert_eq!(tools::effects(&twice(Tool::Read).0).breaches, 0);
}

#[test]
fn done_without_effect_is_found_and_doubt_is_no_breach() {
    let begun = || Log::default().run(started(Tool::Pay, 1));
    assert_eq!(tools::effects(&begun().run(completed()).0).breaches, 1);
    let doubt = ToolInDoubt {
        turn: 1,
        call_id: "a".to_owned(),
        tool: Tool::Pay.name().to_owned(),
        attempt: 1,
        message: String::new(),
        duration_ms: 0,
    };
    assert_eq!(tools::effects(&begun().run(doubt.clone()).0).breaches, 0);
    assert_eq!(
        tools::effects(&begun().effect(Tool::Pay).run(doubt).0).breaches,
        0
    );
    // An effect of which the log knows nothing.
    assert_eq!(
        tools::effects(&Log::default().effect(Tool::Pay).0).breaches,
        1
    );
}

#[test]
fn two_outcomes_of_a_call_are_found() {
    let once = Log::default().run(started(Tool::Pay, 1)).run(completed());
    assert_eq!(runs::one_outcome(&once.0).breaches, 0);
    assert_eq!(runs::one_outcome(&once.run(completed()).0).breaches, 1);
}

#[test]
fn what_was_not_allowed_or_was_forbidden_is_found() {
    let decided = |allowed| {
        let point = PolicyPoint::ToolCall {
            turn: 1,
            call_id: "a".to_owned(),
        };
        let event = json!({
            "point": point, "allowed": allowed, "reasons": [], "rules": ["r"], "bundle": "b",
            "duration_us": 1,
        });
        RunEvent::PolicyDecided(serde_json::from_value(event).unwrap())
    };
    let tool = Tool::Forbidden;
    let asked = |allowed| Log::default().run(decided(allowed)).run(started(tool, 1));
    assert_eq!(tools::judged(&asked(true).0).breaches, 0);
    assert_eq!(tools::judged(&asked(false).0).breaches, 1);
    assert_eq!(
        tools::judged(&Log::default().run(started(tool, 1)).0).breaches,
        1
    );
    let row = tools::forbidden(&asked(false).effect(tool).0);
    assert_eq!((row.checked, row.breaches), (1, 2));
}

#[test]
fn events_that_are_told_otherwise_than_recorded_are_found() {
    let mut facts = Log::default().run(completed()).0;
    facts.told.insert(run(), vec!["1".to_owned()]);
    assert_eq!(views::cursor(&facts).breaches, 0);
    facts
        .told
        .insert(run(), vec!["1".to_owned(), "1".to_owned()]);
    assert_eq!(views::cursor(&facts).breaches, 1);
}

#[test]
fn what_is_left_or_differs_is_a_breach() {
    let facts = Facts {
        pending: 1,
        dead_letters: vec!["a letter".to_owned()],
        tables: (vec!["runs".to_owned()], 3),
        audit: (4, vec!["changed".to_owned()]),
        strangers: vec![(run(), 200), (run(), 404)],
        gave_up: vec!["llm-0".to_owned()],
        ..Facts::default()
    };
    let rows = [
        views::queue(&facts),
        views::dead_letters(&facts),
        views::tables(&facts),
        views::audit(&facts),
        views::strangers(&facts),
        views::processes(&facts),
    ];
    assert!(rows.iter().all(|row| row.breaches == 1), "{rows:?}");
}
