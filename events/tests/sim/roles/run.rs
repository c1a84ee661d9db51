//! Starts and controls runs.

use nexus_events::command::{ControlRun, SignalRun, StartRun};
use nexus_events::run::{self, NewRun, Run, RunEvent, SessionLink, StartLimits};
use nexus_events::{Actor, CommandId, DomainError};

use super::session;
use crate::sim::execute::decide_run;
use crate::sim::world::{Step, Stop, World};

pub(crate) fn start(world: &mut World, id: &CommandId, command: StartRun) -> Step<()> {
    let limits = StartLimits { input_bytes: 4_096 };
    run::validate(&command, &world.catalog, limits).map_err(Stop::Rejected)?;
    let run_id = command.run_id.expect("the client names its runs");
    let user = Actor {
        user: super::super::client::user_of(run_id),
        roles: vec![],
        source: None,
    };
    let session = match command.session_id {
        Some(session_id) if session_id != run_id.own_session() => {
            if world.log.len::<Run>(&run_id.to_string()) > 0 {
                // It was started; what that made due may still have to be published.
                return control(world, id, run_id, |_| Ok(vec![]));
            }
            session::join(world, id, session_id, run_id, &user)?
        }
        _ => SessionLink {
            id: run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
    };
    let input = command.input.clone().into();
    let new = NewRun {
        run_id,
        command,
        input,
        session,
        user,
        trace_id: None,
    };
    let catalog = world.catalog.clone();
    control(world, id, run_id, |run| {
        run::start(run, new.clone(), &catalog)
    })
}

fn control(
    world: &mut World,
    id: &CommandId,
    run_id: nexus_events::RunId,
    decide: impl Fn(&Run) -> Result<Vec<RunEvent>, DomainError>,
) -> Step<()> {
    decide_run(world, run_id, id, "", u64::MAX, |run, _| decide(run)).map(|_| ())
}

pub(crate) fn cancel(world: &mut World, id: &CommandId, command: ControlRun) -> Step<()> {
    control(world, id, command.run_id, |run| run::cancel(run, None))
}

pub(crate) fn pause(world: &mut World, id: &CommandId, command: ControlRun) -> Step<()> {
    control(world, id, command.run_id, |run| run::pause(run, None))
}

pub(crate) fn resume(world: &mut World, id: &CommandId, command: ControlRun) -> Step<()> {
    control(world, id, command.run_id, |run| run::resume(run, None))
}

pub(crate) fn signal(world: &mut World, id: &CommandId, command: SignalRun) -> Step<()> {
    let SignalRun { run_id, input } = command;
    control(world, id, run_id, |run| {
        run::signal(run, input.as_str().into())
    })
}
