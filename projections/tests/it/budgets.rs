//! Budgets in the tables: who holds, who waits and for what, what was spent, and what is worth a word.

use nexus_events::aggregate::Event;
use nexus_events::command::{GrantBudget, HoldBudget, RefuseBudget, RunRef, SetLimits, Settle};
use nexus_events::ledger::{
    self, Amounts, Ask, Ledger, LedgerEvent, Limits, OnExhausted, RunStep, Scope, Shortage, Unit,
    Window,
};
use nexus_events::run::*;
use nexus_events::{
    Aggregate, AggregateId, AggregateKind, Position, ReservationId, RunId, Tenant, Timestamp,
    subject,
};
use nexus_projections::query::{
    Alert, AlertFilter, AlertKind, PageRequest, ReservationFilter, ReservationStatus, RunFilter,
    RunStatus, SpendBy, SpendFilter, Waits,
};
use uuid::Uuid;

use crate::stack::Stack;
use crate::world::{Message, Shape, World, actor, message};

/// A tenant's ledger and its runs, as the roles would write them.
struct Office {
    tenant: Tenant,
    ledger: Ledger,
    now: Timestamp,
    out: Vec<Message>,
}

impl Office {
    fn new() -> Self {
        Self {
            tenant: "acme".parse().unwrap(),
            ledger: Ledger::default(),
            now: Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap(),
            out: vec![],
        }
    }

    fn commit<E: Event>(&mut self, kind: AggregateKind, id: &AggregateId, events: Vec<E>) {
        let subject = subject::events(&self.tenant, kind, id);
        let number = self.out.len() as u64 + 1;
        self.out
            .push(message(&subject, number, self.now, events, None));
    }

    fn ledger(&mut self, events: Vec<LedgerEvent>) {
        let seq = self.out.len() as u64 + 1;
        for (event, index) in events.iter().zip(0..) {
            let time = self.now;
            self.ledger.evolve(event, Position { seq, index, time });
        }
        self.commit(AggregateKind::Ledger, &AggregateId::ONLY, events);
        self.now = self.now.plus_millis(1_000);
    }

    fn run(&mut self, run: RunId, events: Vec<RunEvent>) {
        self.commit(AggregateKind::Run, &run.into(), events);
    }

    fn limit(&mut self, tokens: u64) {
        let set = SetLimits {
            scope: ada(),
            window: Window::Day,
            limits: Limits {
                tokens: Some(tokens),
                ..Limits::default()
            },
            on_exhausted: Some(OnExhausted::Park),
            thresholds: vec![50].try_into().ok(),
        };
        let events = ledger::set_limits(&self.ledger, &set, self.now);
        self.ledger(events);
    }

    fn start(&mut self, run: RunId) {
        let started = RunStarted {
            run_id: run,
            session: SessionLink {
                id: run.own_session(),
                previous: None,
                budget: None,
                policy_context: None,
            },
            user: actor("ada"),
            agent: AgentRef {
                name: "helper".into(),
                version: "1".into(),
            },
            model: "m".into(),
            tools: vec![],
            pins: Default::default(),
            input: "hello".into(),
            given: None,
            invoke: None,
            budget: None,
            parent: None,
            max_turns: 4,
            prompt_tokens: None,
            queued: None,
            metadata: Default::default(),
            trace_id: None,
        };
        let decided = PolicyDecided {
            point: PolicyPoint::RunStart,
            allowed: true,
            reasons: vec![],
            rules: vec![],
            bundle: "builtin".into(),
            duration_us: 1,
            ..PolicyDecided::default()
        };
        self.run(run, vec![started.into(), decided.into()]);
    }

    /// The ledger holds these tokens for the run's turn, or makes it wait; the run learns of it.
    fn reserve(&mut self, run: RunId, tokens: u64) -> ReservationId {
        let id = reservation_id(run, 1, None, 0);
        let ask = Ask {
            reservation_id: id,
            step: Some(RunStep {
                run: RunRef {
                    run_id: run,
                    first_seq: 1,
                    last_seq: 1,
                },
                turn: 1,
                call_id: None,
            }),
            scopes: vec![
                Scope::Tenant,
                ada(),
                Scope::Agent("helper".into()),
                Scope::Run(run),
            ],
            own_limits: vec![],
            model: Some("m".into()),
            input_tokens: tokens,
            max_output_tokens: 0,
            min_output_tokens: 0,
            time_ms: 1_000,
            min_time_ms: 1_000,
            extra_cost_usd_micros: 0,
            tool_calls: 0,
            price: Default::default(),
            cheaper: vec![],
            hold_ms: 600_000,
        };
        let events = ledger::reserve(&self.ledger, &ask, self.now).unwrap();
        self.ledger(events);
        let shortage = self
            .ledger
            .waiting(id)
            .map(|waiting| waiting.shortage.clone());
        match shortage {
            Some(shortage) => {
                let parked = RunParked {
                    turn: 1,
                    call_id: None,
                    reservation_id: id,
                    shortage,
                };
                self.run(run, vec![parked.into()]);
            }
            None => self.granted(run),
        }
        id
    }

    fn granted(&mut self, run: RunId) {
        let id = reservation_id(run, 1, None, 0);
        let held = self.ledger.reservation(id).unwrap();
        let granted = ReservationGranted {
            turn: 1,
            call_id: None,
            reservation_id: id,
            amounts: held.amounts,
            time_limited: false,
            max_output_tokens: held.max_output_tokens,
            expires_at: held.expires_at,
            ledger_seq: held.seq,
        };
        self.run(run, vec![granted.into()]);
    }

    fn settle(&mut self, id: ReservationId, run_id: RunId, tokens: u64) {
        let settle = Settle {
            reservation_id: id,
            run_id,
            spent: Amounts {
                tokens,
                cost_usd_micros: 7,
                ..Amounts::default()
            },
            ends_run: true,
        };
        let events = ledger::settle(&self.ledger, &settle, self.now);
        self.ledger(events);
    }
}

fn ada() -> Scope {
    Scope::User("ada".into())
}

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

/// Everything that was published is in the tables.
async fn shown(stack: &Stack, office: &mut Office) {
    let last = stack.publish(&std::mem::take(&mut office.out)).await;
    stack.applied(last).await;
}

#[tokio::test]
async fn those_who_wait_are_shown_in_their_order_and_leave_it_by_a_word() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let (mut office, db) = (Office::new(), &stack.projections);
    let acme = office.tenant.clone();
    office.limit(1_000);
    let [a, b, c] = [run(1), run(2), run(3)];
    for run in [a, b, c] {
        office.start(run);
    }
    let began = office.now;
    let held = office.reserve(a, 800);
    let first = office.reserve(b, 500);
    let second = office.reserve(c, 300);
    shown(&stack, &mut office).await;

    let standing = db.budget(&acme, &ada(), office.now).await.unwrap();
    let day = standing
        .windows
        .iter()
        .find(|row| row.window == Window::Day);
    let day = day.unwrap();
    assert_eq!((day.reserved.tokens, day.reserved.runs), (800, 1));
    assert_eq!(day.remaining.tokens, Some(200));
    assert_eq!(day.on_exhausted, OnExhausted::Park);
    assert_eq!(day.thresholds.percents().collect::<Vec<_>>(), [50]);
    let midnight = Timestamp::parse_rfc3339("2026-11-23T00:00:00Z");
    assert_eq!(day.resets_at, midnight);
    let holder = &standing.reservations[..];
    assert_eq!(holder.len(), 1);
    assert_eq!((holder[0].id, holder[0].run_id), (held, Some(a)));
    assert_eq!(
        (holder[0].since, holder[0].model.as_deref()),
        (began, Some("m"))
    );
    let waiting: Vec<_> = (standing.waiting.iter())
        .map(|row| (row.id, row.waits_for.as_ref().unwrap()))
        .map(|(id, line)| (id, line.place, line.shortage.needed, line.asks_person))
        .collect();
    assert_eq!(waiting, [(first, 1, 500, false), (second, 2, 300, false)]);

    let filter = RunFilter {
        status: Some(RunStatus::Waiting),
        ..RunFilter::default()
    };
    let page = PageRequest::default();
    let runs = db.runs(&acme, &filter, &page).await.unwrap().items;
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [c, b]);
    let waits = db.run(&acme, b).await.unwrap().unwrap().waiting_for;
    let [Waits::Budget(waits)] = &waits[..] else {
        panic!("{waits:?}")
    };
    assert_eq!(waits.reservation_id, first);
    assert_eq!(
        (waits.shortage.unit, waits.shortage.limit),
        (Unit::Tokens, 1_000)
    );

    let grant = GrantBudget {
        reservation_id: first,
        amount: None,
    };
    let events = ledger::grant(&office.ledger, &grant, office.now).unwrap();
    office.ledger(events);
    office.granted(b);
    let refuse = RefuseBudget {
        reservation_id: second,
        reason: Some("no".into()),
    };
    let events = ledger::refuse(&office.ledger, &refuse, office.now).unwrap();
    office.ledger(events);
    let (code, message) = ("budget_exhausted".into(), "no".into());
    office.run(c, vec![RunFailed { code, message }.into()]);
    shown(&stack, &mut office).await;

    let standing = db.budget(&acme, &ada(), office.now).await.unwrap();
    assert!(standing.waiting.is_empty(), "{standing:#?}");
    assert_eq!(standing.windows[0].limits.tokens, Some(1_300));
    assert_eq!(standing.reservations.len(), 2);
    let granted = db.run(&acme, b).await.unwrap().unwrap();
    assert_eq!(
        (granted.status, granted.waiting_for.len()),
        (RunStatus::Running, 0)
    );
    let refused = db.run(&acme, c).await.unwrap().unwrap();
    assert_eq!(
        (refused.status, refused.waiting_for.len()),
        (RunStatus::Failed, 0)
    );
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn a_list_of_reservations_gives_each_once_and_those_outside_of_runs_too() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let (mut office, db) = (Office::new(), &stack.projections);
    let acme = office.tenant.clone();
    office.limit(1_000);
    let outside = ReservationId::new(Uuid::from_u128(99));
    let hold = HoldBudget {
        reservation_id: outside,
        scopes: vec![ada()],
        amounts: Amounts {
            tokens: 900,
            ..Amounts::default()
        },
        model: Some("theirs".into()),
        hold_seconds: Some(60),
    };
    let events = ledger::hold(&office.ledger, &hold, office.now).unwrap();
    office.ledger(events);
    let mut ids = vec![outside];
    for number in 1..6 {
        office.start(run(number));
        ids.push(office.reserve(run(number), 200));
    }
    shown(&stack, &mut office).await;
    let mut filter = ReservationFilter {
        limit: Some(2),
        ..ReservationFilter::default()
    };
    let mut seen = vec![];
    loop {
        let page = db.reservations(&acme, &filter).await.unwrap();
        seen.extend(page.items);
        match page.next_cursor {
            Some(cursor) => filter.after = Some(cursor.parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(seen.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    assert_eq!(
        (seen[0].run_id, seen[0].status),
        (None, ReservationStatus::Held)
    );
    let last = db.reservation(&acme, ids[5]).await.unwrap().unwrap();
    assert_eq!(last.waits_for.map(|line| line.place), Some(5));
    let waiting = ReservationFilter {
        status: Some(ReservationStatus::Waiting),
        run: Some(run(2)),
        ..ReservationFilter::default()
    };
    let waiting = db.reservations(&acme, &waiting).await.unwrap().items;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].waits_for.as_ref().unwrap().place, 2);
    let other: Tenant = "globex".parse().unwrap();
    assert_eq!(db.reservation(&other, outside).await.unwrap(), None);
    let none = db.reservations(&other, &Default::default()).await.unwrap();
    assert!(none.items.is_empty());
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn a_threshold_and_an_overrun_are_told_once() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let (mut office, db) = (Office::new(), &stack.projections);
    let acme = office.tenant.clone();
    office.limit(1_000);
    office.start(run(1));
    let id = office.reserve(run(1), 500);
    office.settle(id, run(1), 600);
    shown(&stack, &mut office).await;
    let (any, page) = (AlertFilter::default(), PageRequest::default());
    let alerts = db.alerts(&acme, &any, &page).await.unwrap().items;
    let alerts: Vec<_> = alerts.into_iter().map(|row| row.alert).collect();
    let threshold = Alert::Threshold {
        scope: ada(),
        window: Window::Day,
        unit: Unit::Tokens,
        percent: 50,
        limit: 1_000,
        spent: 600,
    };
    let overrun = Alert::Overrun {
        reservation_id: id,
        run_id: Some(run(1)),
        user: Some("ada".into()),
        agent: Some("helper".into()),
        model: Some("m".into()),
        excess: Amounts {
            tokens: 100,
            cost_usd_micros: 7,
            ..Amounts::default()
        },
    };
    assert_eq!(alerts, [threshold.clone(), overrun], "the newest first");
    let thresholds = AlertFilter {
        kind: Some(AlertKind::Threshold),
        scope: Some(ada()),
    };
    let alerts = db.alerts(&acme, &thresholds, &page).await.unwrap().items;
    assert_eq!((alerts.len(), &alerts[0].alert), (1, &threshold));
    let other: Tenant = "globex".parse().unwrap();
    assert!(
        db.alerts(&other, &any, &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let spent = db.spend(&acme, &SpendFilter::default()).await.unwrap();
    assert_eq!((spent.total.tokens, spent.total.overruns), (600, 1));
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_reported_as_spent_is_what_the_runs_say() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let mut world = World::new(61);
    world.loses = false;
    world.add(Shape {
        runs: 150,
        at_once: 20,
        strange: true,
    });
    let last = stack.publish(&world.out).await;
    stack.applied(last).await;
    let mut sql = stack.sql().await;
    let different: Vec<(String, String, String, String)> = sqlx::query_as(
        "WITH runs AS (
             SELECT tenant, user_id, sum(tokens) AS tokens, sum(cost_usd_micros) AS cost,
                    sum(time_ms) AS time_ms FROM agent_runs GROUP BY 1, 2
         ), spent AS (
             SELECT tenant, user_id, sum(tokens) AS tokens, sum(cost_usd_micros) AS cost,
                    sum(time_ms) AS time_ms FROM spend WHERE agent <> '' GROUP BY 1, 2
         )
         SELECT tenant, user_id, runs::text, spent::text
         FROM runs FULL JOIN spent USING (tenant, user_id)
         WHERE (coalesce(runs.tokens, 0), coalesce(runs.cost, 0), coalesce(runs.time_ms, 0))
            <> (coalesce(spent.tokens, 0), coalesce(spent.cost, 0), coalesce(spent.time_ms, 0))",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert!(different.is_empty(), "{different:#?}");
    let counted: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT (SELECT count(*) FROM llm_calls),
                (SELECT count(*) FROM tool_calls
                 WHERE status IN ('completed', 'failed') OR metadata ? 'in_doubt'),
                (SELECT count(DISTINCT run_id) FROM agent_runs r
                 JOIN llm_calls l ON l.run_id = r.id WHERE parent_run_id IS NOT NULL)",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let (calls, tools, children) = counted[0];
    assert!(
        children > 0,
        "a child spends on its own user's account, once"
    );
    let summed: (i64, i64) = sqlx::query_as(
        "SELECT sum(calls)::int8, sum(tool_calls)::int8 FROM spend WHERE agent <> ''",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(summed, (calls, tools));
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn spending_is_summed_by_what_is_asked_for_page_by_page() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let past = World::past(
        62,
        Shape {
            runs: 150,
            at_once: 20,
            strange: true,
        },
    );
    let last = stack.publish(&past).await;
    stack.applied(last).await;
    let (acme, db): (Tenant, _) = ("acme".parse().unwrap(), &stack.projections);
    let whole = db.spend(&acme, &SpendFilter::default()).await.unwrap();
    assert_eq!(whole.items.len(), 1);
    assert_eq!(whole.items[0].sums, whole.total);
    assert!(
        whole.total.tokens > 0 && whole.total.tool_calls > 0,
        "{whole:?}"
    );
    let mut filter = SpendFilter {
        by: SpendBy {
            day: true,
            user: true,
            agent: true,
            model: true,
        },
        limit: Some(3),
        ..SpendFilter::default()
    };
    let mut rows = vec![];
    loop {
        let page = db.spend(&acme, &filter).await.unwrap();
        assert_eq!(page.total, whole.total);
        rows.extend(page.items);
        match page.next_cursor {
            Some(cursor) => filter.after = Some(cursor.parse().unwrap()),
            None => break,
        }
    }
    assert!(rows.len() > 6, "{rows:?}");
    let tokens: u64 = rows.iter().map(|row| row.sums.tokens).sum();
    assert_eq!(tokens, whole.total.tokens);
    let days: Vec<_> = rows.iter().filter_map(|row| row.day).collect();
    assert!(days.is_sorted() && days.len() == rows.len());
    let one = SpendFilter {
        from: Some(days[0]),
        to: Some(days[0]),
        user: Some("user-1".into()),
        by: SpendBy {
            model: true,
            ..SpendBy::default()
        },
        ..SpendFilter::default()
    };
    let one = db.spend(&acme, &one).await.unwrap();
    assert!(
        one.items
            .iter()
            .all(|row| row.user.is_none() && row.model.is_some())
    );
    let expected = rows
        .iter()
        .filter(|row| row.day == Some(days[0]) && row.user.as_deref() == Some("user-1"));
    let expected: u64 = expected.map(|row| row.sums.tokens).sum();
    assert!(expected > 0);
    assert_eq!(one.total.tokens, expected);
    let other: Tenant = "nobody".parse().unwrap();
    let nothing = db.spend(&other, &SpendFilter::default()).await.unwrap();
    assert!(nothing.items.is_empty() && nothing.total == Default::default());
    running.stop().await;
}

#[tokio::test]
async fn a_run_waits_as_long_as_one_of_its_calls_does() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let (mut office, db) = (Office::new(), &stack.projections);
    let acme = office.tenant.clone();
    let shortage = Shortage {
        scope: ada(),
        window: Window::Day,
        unit: Unit::ToolCalls,
        limit: 0,
        spent: 0,
        reserved: 0,
        needed: 1,
        on_exhausted: OnExhausted::Approve,
    };
    let parked = |call: &str| RunParked {
        turn: 1,
        call_id: Some(call.into()),
        reservation_id: reservation_id(run(1), 1, Some(call), 0),
        shortage: shortage.clone(),
    };
    let granted = |call: &str| ReservationGranted {
        turn: 1,
        call_id: Some(call.into()),
        reservation_id: reservation_id(run(1), 1, Some(call), 0),
        amounts: Amounts::default(),
        time_limited: false,
        max_output_tokens: 0,
        expires_at: Timestamp::from_millis(0),
        ledger_seq: 1,
    };
    office.start(run(1));
    let steps: [(Vec<RunEvent>, _, &[&str]); 6] = [
        (vec![parked("a").into()], RunStatus::Waiting, &["a"]),
        (vec![parked("b").into()], RunStatus::Waiting, &["a", "b"]),
        (vec![granted("a").into()], RunStatus::Waiting, &["b"]),
        (
            vec![RunPaused { reason: None }.into()],
            RunStatus::Paused,
            &["b"],
        ),
        (
            vec![RunResumed { reason: None }.into(), granted("b").into()],
            RunStatus::Running,
            &[],
        ),
        (
            vec![parked("c").into(), RunCancelled { reason: None }.into()],
            RunStatus::Cancelled,
            &[],
        ),
    ];
    for (events, status, calls) in steps {
        office.run(run(1), events);
        shown(&stack, &mut office).await;
        let row = db.run(&acme, run(1)).await.unwrap().unwrap();
        let waits: Vec<_> = (row.waiting_for.iter())
            .filter_map(|waits| match waits {
                Waits::Budget(waits) => waits.call_id.as_deref(),
                Waits::Approval(_) | Waits::Word(_) => None,
            })
            .collect();
        assert_eq!((row.status, &waits[..]), (status, calls));
    }
    stack.assert_equal().await;
    running.stop().await;
}
