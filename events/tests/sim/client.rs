//! What people do: limits, sessions, runs, and words in between, each sent once or more often.

use nexus_events::command::{
    Budget, CancelRun, CloseSession, ControlRun, OpenSession, PauseRun, ResumeRun, SetLimits,
    SignalRun, StartRun,
};
use nexus_events::ledger::{Limits, Scope, Window, set_limits};
use nexus_events::run::Run;
use nexus_events::{Command, CommandId, RunId, SessionId};

use super::rng::Rng;
use super::roles;
use super::world::{Chaos, World};

/// What is still to be said.
pub(crate) struct Client {
    plan: Vec<Command>,
    said: u64,
    pub(crate) runs: Vec<RunId>,
    pub(crate) sessions: Vec<SessionId>,
}

const USERS: [&str; 2] = ["ada", "grace"];

/// A run's user, derived so that a command that is sent again means the same.
pub(crate) fn user_of(run_id: RunId) -> String {
    USERS[usize::from(run_id.uuid().as_bytes()[0] % 2)].to_owned()
}

impl Client {
    pub(crate) fn plan(rng: &mut Rng) -> Self {
        let runs: Vec<RunId> = (0..1 + rng.below(4))
            .map(|n| RunId::derive(&[&rng.next().to_string(), &n.to_string()]))
            .collect();
        let opened = SessionId::derive(&[&rng.next().to_string()]);
        let mut sessions = vec![opened];
        let mut plan = vec![];
        for (n, &run_id) in runs.iter().enumerate() {
            let session_id = match rng.below(4) {
                0 => Some(opened),
                // The session of the first run, which it opened by naming none.
                1 if n > 0 => Some(runs[0].own_session()),
                _ => None,
            };
            sessions.push(run_id.own_session());
            plan.push(start(rng, run_id, session_id));
            plan.extend((0..rng.below(4)).map(|_| control(rng, run_id)));
        }
        plan.push(open(rng, opened));
        if rng.percent(10) {
            plan.push(CloseSession { session_id: opened }.into());
        }
        plan.extend((0..rng.below(3)).map(|_| limit(rng)));
        Self {
            plan,
            said: 0,
            runs,
            sessions,
        }
    }
}

fn start(rng: &mut Rng, run_id: RunId, session_id: Option<SessionId>) -> Command {
    StartRun {
        input: "hello".to_owned(),
        run_id: Some(run_id),
        session_id,
        budget: budget(rng),
        ..StartRun::default()
    }
    .into()
}

fn open(rng: &mut Rng, session_id: SessionId) -> Command {
    OpenSession {
        session_id: Some(session_id),
        budget: budget(rng),
        ..OpenSession::default()
    }
    .into()
}

fn budget(rng: &mut Rng) -> Option<Budget> {
    let tokens = rng.pick(&[None, None, Some(900), Some(10_000), Some(30_000)]);
    let cost_usd_micros = rng.pick(&[None, None, None, Some(300), Some(5_000)]);
    let time_seconds = rng.pick(&[None, None, None, Some(2), Some(400)]);
    rng.percent(50).then_some(Budget {
        tokens,
        cost_usd_micros,
        time_seconds,
    })
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
    let scope = rng.pick(&[0, 1, 2]);
    let scope = match scope {
        0 => Scope::Tenant,
        1 => Scope::User(USERS[0].to_owned()),
        _ => Scope::Agent("default".to_owned()),
    };
    let window = rng.pick(&[Window::Lifetime, Window::Hour, Window::Day, Window::Month]);
    SetLimits {
        scope,
        window,
        limits: limits(rng),
    }
    .into()
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
        cost_usd_micros: rng.pick(&[None, None, None, Some(4_000), Some(100_000)]),
        time_ms: rng.pick(&[None, None, None, Some(700_000), Some(5_000_000)]),
    }
}

/// Every scope has an account before anything is spent, so that sums can be compared.
pub(crate) fn first_limits(world: &mut World) {
    let calm = std::mem::take(&mut world.chaos);
    let mut scopes = vec![Scope::Tenant, Scope::Agent("default".to_owned())];
    scopes.extend(USERS.map(|user| Scope::User(user.to_owned())));
    scopes.extend(world.client.sessions.iter().map(|&id| Scope::Session(id)));
    for (n, scope) in scopes.into_iter().enumerate() {
        let cause = CommandId::derive("first limits", &n.to_string());
        let limits = match limits(&mut world.rng) {
            limits if limits.is_unlimited() => Limits {
                tokens: Some(u64::MAX),
                ..limits
            },
            limits => limits,
        };
        let set = SetLimits {
            scope,
            window: Window::Lifetime,
            limits,
        };
        let done = roles::limits(world, &cause, |ledger| set_limits(ledger, &set));
        assert!(done.is_ok(), "nobody is killed yet");
    }
    world.chaos = calm;
}

/// Says the next thing, now and then twice, now and then in another order.
pub(crate) fn speak(world: &mut World) {
    let len = world.client.plan.len().min(3);
    if len == 0 {
        return;
    }
    let next = if world.rng.percent(70) {
        0
    } else {
        world.rng.index(len)
    };
    let command = world.client.plan.remove(next);
    say(world, command);
}

pub(crate) fn is_done(world: &World) -> bool {
    world.client.plan.is_empty()
}

fn say(world: &mut World, command: Command) {
    world.client.said += 1;
    let mut id = CommandId::derive("client", &world.client.said.to_string());
    world.queue.publish(id.clone(), command.clone());
    if world.rng.percent(world.chaos.again) {
        if world.rng.percent(50) {
            // A client that does not know whether it was heard, and makes a new id.
            id = CommandId::derive("client again", &world.client.said.to_string());
        }
        world.queue.publish(id, command);
    }
}

/// Resumes what is paused, but for some: a run may stay paused for ever.
pub(crate) fn resume_paused(world: &mut World) -> bool {
    let paused = |id: &RunId| {
        let run = world.log.latest::<Run>(&id.to_string()).state;
        run.paused && !run.status.is_terminal()
    };
    let paused: Vec<RunId> = world
        .client
        .runs
        .clone()
        .into_iter()
        .filter(paused)
        .collect();
    let mut any = false;
    for run_id in paused {
        if world.rng.percent(80) {
            any = true;
            say(
                world,
                ResumeRun(ControlRun {
                    run_id,
                    reason: None,
                })
                .into(),
            );
        }
    }
    any
}

/// Peace at last: nobody dies any more, so that what remains comes to its end.
pub(crate) fn make_peace(world: &mut World) {
    world.chaos = Chaos::default();
}

/// What the runs of each scope spent, from the ledger's point of view.
pub(crate) fn scopes_of(run: &Run) -> Vec<Scope> {
    let Some(info) = run.info() else {
        return vec![];
    };
    vec![
        Scope::Tenant,
        Scope::User(info.user.user.clone()),
        Scope::Agent(info.agent.name.clone()),
        Scope::Session(info.session.id),
        Scope::Run(info.run_id),
    ]
}
