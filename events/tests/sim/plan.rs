//! What people have in mind: limits, sessions, runs and their children, words in between, and
//! spending of their own.

use nexus_events::command::{
    Budget, CancelRun, CloseSession, ControlRun, HoldBudget, OpenSession, PauseRun, ReleaseBudget,
    ResumeRun, SetLimits, SignalRun, StartRun,
};
use nexus_events::ledger::{Amounts, Limits, OnExhausted, Scope, Thresholds, Window};
use nexus_events::session::OnBusy;
use nexus_events::{Command, ReservationId, RunId, SessionId};

use super::rng::Rng;
use super::world::BOOK;

pub(crate) const USERS: [&str; 2] = ["ada", "grace"];

const MODES: [OnExhausted; 7] = [
    OnExhausted::Reject,
    OnExhausted::Park,
    OnExhausted::Park,
    OnExhausted::Park,
    OnExhausted::Downgrade,
    OnExhausted::Downgrade,
    OnExhausted::Approve,
];

/// What is to be said, in order.
pub(crate) fn commands(rng: &mut Rng, runs: &[RunId], opened: SessionId) -> Vec<Command> {
    let mut plan = vec![];
    for (n, &run_id) in runs.iter().enumerate() {
        let session_id = match rng.below(4) {
            0 => Some(opened),
            // The session of the first run, which it opened by naming none.
            1 if n > 0 => Some(runs[0].own_session()),
            _ => None,
        };
        let parent = (n > 0 && rng.percent(30)).then(|| runs[rng.index(n)]);
        plan.push(start(rng, run_id, session_id, parent));
        plan.extend((0..rng.below(4)).map(|_| control(rng, run_id)));
    }
    plan.push(open(rng, opened));
    if rng.percent(10) {
        plan.push(CloseSession { session_id: opened }.into());
    }
    plan.extend((0..rng.below(3)).map(|_| limit(rng)));
    if rng.percent(25) {
        plan.push(by_the_hour());
    }
    if rng.percent(25) {
        plan.extend(spending(rng));
    }
    plan
}

fn start(
    rng: &mut Rng,
    run_id: RunId,
    session_id: Option<SessionId>,
    parent_run_id: Option<RunId>,
) -> Command {
    StartRun {
        input: "hello".to_owned(),
        run_id: Some(run_id),
        session_id,
        on_busy: on_busy(rng),
        parent_run_id,
        budget: budget(rng),
        tools: Some(vec!["calculator".to_owned(), BOOK.to_owned()]),
        ..StartRun::default()
    }
    .into()
}

fn open(rng: &mut Rng, session_id: SessionId) -> Command {
    OpenSession {
        session_id: Some(session_id),
        budget: budget(rng),
        on_busy: on_busy(rng),
        ..OpenSession::default()
    }
    .into()
}

fn on_busy(rng: &mut Rng) -> Option<OnBusy> {
    rng.pick(&[
        None,
        Some(OnBusy::Reject),
        Some(OnBusy::Enqueue),
        Some(OnBusy::Enqueue),
        Some(OnBusy::Enqueue),
        Some(OnBusy::Interrupt),
    ])
}

fn budget(rng: &mut Rng) -> Option<Budget> {
    let budget = Budget {
        tokens: rng.pick(&[None, None, Some(900), Some(10_000), Some(30_000)]),
        cost_usd_micros: rng.pick(&[None, None, Some(300), Some(900), Some(5_000)]),
        time_seconds: rng.pick(&[None, None, None, Some(2), Some(400)]),
        tool_calls: rng.pick(&[None, None, None, Some(1), Some(4)]),
        runs: rng.pick(&[None, None, None, None, Some(1), Some(2)]),
        on_exhausted: rng.pick(&MODES),
    };
    rng.percent(50).then_some(budget)
}

fn control(rng: &mut Rng, run_id: RunId) -> Command {
    let command = ControlRun {
        run_id,
        reason: None,
    };
    match rng.below(10) {
        0 | 1 => CancelRun(command).into(),
        2..=4 => PauseRun(command).into(),
        5..=7 => ResumeRun(command).into(),
        _ => SignalRun {
            run_id,
            input: "and then?".to_owned(),
        }
        .into(),
    }
}

fn limit(rng: &mut Rng) -> Command {
    let scope = any_scope(rng);
    let window = rng.pick(&[
        Window::Lifetime,
        Window::Hour,
        Window::Hour,
        Window::Day,
        Window::Month,
    ]);
    SetLimits {
        scope,
        window,
        ..limits_of_somebody(rng)
    }
    .into()
}

/// Enough for a call or two, and more in the next hour.
fn by_the_hour() -> Command {
    SetLimits {
        scope: Scope::Tenant,
        window: Window::Hour,
        limits: Limits {
            tokens: Some(3_000),
            ..Limits::default()
        },
        on_exhausted: Some(OnExhausted::Park),
        thresholds: None,
    }
    .into()
}

fn any_scope(rng: &mut Rng) -> Scope {
    match rng.below(3) {
        0 => Scope::Tenant,
        1 => Scope::User(USERS[0].to_owned()),
        _ => Scope::Agent("default".to_owned()),
    }
}

/// Limits for whatever scope.
pub(crate) fn limits_of_somebody(rng: &mut Rng) -> SetLimits {
    let percents = vec![50, 100];
    SetLimits {
        scope: Scope::Tenant,
        window: Window::Lifetime,
        limits: limits(rng),
        on_exhausted: rng.percent(80).then(|| rng.pick(&MODES)),
        thresholds: rng
            .percent(20)
            .then(|| Thresholds::try_from(percents).unwrap()),
    }
}

fn limits(rng: &mut Rng) -> Limits {
    Limits {
        tokens: rng.pick(&[
            None,
            None,
            Some(2_500),
            Some(20_000),
            Some(50_000),
            Some(u64::MAX),
        ]),
        cost_usd_micros: rng.pick(&[None, None, None, Some(1_500), Some(100_000)]),
        time_ms: rng.pick(&[None, None, None, Some(700_000), Some(5_000_000)]),
        tool_calls: rng.pick(&[None, None, None, Some(3), Some(20)]),
        runs: rng.pick(&[None, None, None, Some(1), Some(2)]),
    }
}

/// Somebody holds budget for spending of his own, and says what it was, or forgets to.
fn spending(rng: &mut Rng) -> Vec<Command> {
    let reservation_id = ReservationId::derive(&[&rng.next().to_string()]);
    let amounts = |rng: &mut Rng| Amounts {
        tokens: rng.below(3_000),
        cost_usd_micros: rng.below(1_000),
        time_ms: rng.below(100_000),
        tool_calls: rng.below(2),
        runs: 0,
    };
    let held = amounts(rng);
    let hold = HoldBudget {
        reservation_id,
        scopes: vec![any_scope(rng)],
        amounts: held,
        model: None,
        hold_seconds: rng.pick(&[None, Some(60), Some(1_800)]),
    };
    let mut spending = vec![hold.into()];
    if rng.percent(80) {
        let spent = amounts(rng);
        let release = ReleaseBudget {
            reservation_id,
            spent,
        };
        spending.push(release.into());
    }
    spending
}
