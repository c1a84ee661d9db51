//! What people say, each thing sent once or more often, and in another order now and then.

use nexus_events::command::{ControlRun, ResumeRun, SetLimits};
use nexus_events::ledger::{Limits, Scope, set_limits};
use nexus_events::run::Run;
use nexus_events::{Command, CommandId, RunId, SessionId};

use super::plan::{self, USERS};
use super::rng::Rng;
use super::roles;
use super::world::World;

/// What is still to be said.
pub(crate) struct Client {
    plan: Vec<Command>,
    said: u64,
    pub(crate) runs: Vec<RunId>,
    /// Every scope that there can be.
    pub(crate) scopes: Vec<Scope>,
}

/// A run's user, derived so that a command that is sent again means the same.
pub(crate) fn user_of(run_id: RunId) -> String {
    USERS[usize::from(run_id.uuid().as_bytes()[0] % 2)].to_owned()
}

impl Client {
    pub(crate) fn plan(rng: &mut Rng) -> Self {
        let runs: Vec<RunId> = (0..1 + rng.below(5))
            .map(|n| RunId::derive(&[&rng.next().to_string(), &n.to_string()]))
            .collect();
        let opened = SessionId::derive(&[&rng.next().to_string()]);
        let sessions = [opened]
            .into_iter()
            .chain(runs.iter().map(|run| run.own_session()));
        let mut scopes = vec![Scope::Tenant, Scope::Agent("default".to_owned())];
        scopes.extend(USERS.map(|user| Scope::User(user.to_owned())));
        scopes.extend(sessions.map(Scope::Session));
        scopes.extend(runs.iter().copied().map(Scope::Run));
        Self {
            plan: plan::commands(rng, &runs, opened),
            said: 0,
            runs,
            scopes,
        }
    }
}

/// Every scope but a run's has an account before anything is spent, so that sums can be compared.
pub(crate) fn first_limits(world: &mut World) {
    let calm = std::mem::take(&mut world.chaos);
    let is_runs = |scope: &Scope| matches!(scope, Scope::Run(_));
    let scopes = world.client.scopes.clone().into_iter();
    for (n, scope) in scopes.filter(|scope| !is_runs(scope)).enumerate() {
        let cause = CommandId::derive("first limits", &n.to_string());
        let mut set = SetLimits {
            scope,
            ..plan::limits_of_somebody(&mut world.rng)
        };
        if set.limits.is_unlimited() {
            let tokens = Some(u64::MAX);
            set.limits = Limits {
                tokens,
                ..Limits::default()
            };
        }
        let done = roles::limits(world, &cause, |ledger, now| set_limits(ledger, &set, now));
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
    if !is_early(world, next) {
        let command = world.client.plan.remove(next);
        say(world, command);
    }
}

/// A child is started when its parent is at work; now and then before, or after.
fn is_early(world: &mut World, next: usize) -> bool {
    let Command::StartRun(start) = &world.client.plan[next] else {
        return false;
    };
    let Some(parent) = start.parent_run_id else {
        return false;
    };
    let parent = world.run(parent);
    !parent.in_flight && !parent.status.is_terminal() && world.rng.percent(95)
}

pub(crate) fn is_done(world: &World) -> bool {
    world.client.plan.is_empty()
}

pub(crate) fn say(world: &mut World, command: Command) {
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
pub(crate) fn resume_paused(world: &mut World) {
    for run_id in world.client.runs.clone() {
        if is_paused(&world.run(run_id)) && world.rng.percent(80) {
            let reason = None;
            say(world, ResumeRun(ControlRun { run_id, reason }).into());
        }
    }
}

pub(crate) fn is_paused(run: &Run) -> bool {
    run.paused && !run.status.is_terminal()
}
