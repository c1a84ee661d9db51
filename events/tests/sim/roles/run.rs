//! Starts and controls runs.

use nexus_events::command::{ControlRun, EndOfTime, SignalRun, StartRun};
use nexus_events::run::{self, NewRun, Run, RunEvent, SessionLink, StartLimits};
use nexus_events::tool::registry;
use nexus_events::{Actor, CommandId, DomainError};

use super::session;
use crate::sim::execute::decide_run;
use crate::sim::world::{Step, Stop, World};

pub(crate) fn start(world: &mut World, id: &CommandId, command: StartRun) -> Step<()> {
    let (run_id, joins) = (command.run_id.expect("it has one"), command.session_id);
    let outcome = take_up(world, id, command);
    if let (Err(Stop::Rejected(_)), Some(session_id)) = (&outcome, joins) {
        session::give_up_place(world, id, session_id, run_id)?;
    }
    outcome
}

fn take_up(world: &mut World, id: &CommandId, command: StartRun) -> Step<()> {
    let limits = StartLimits { input_bytes: 4_096 };
    run::validate(&command, &world.catalog, limits).map_err(Stop::Rejected)?;
    let run_id = command.run_id.expect("the client names its runs");
    let user = Actor {
        user: super::super::client::user_of(run_id),
        roles: vec![],
        ..Actor::default()
    };
    if world.log.len::<Run>(&run_id.to_string()) > 0 {
        // It was started; what that made due may still have to be published.
        control(world, id, run_id, |_| Ok(vec![]))?;
        let run = world.run(run_id);
        return match run.info().filter(|info| info.queued.is_some()) {
            Some(info) => session::wait_in_line(world, id, info.session.id, run_id),
            None => Ok(()),
        };
    }
    let parent = match command.parent_run_id {
        Some(parent) => Some(run::inherit(&world.run(parent)).map_err(Stop::Rejected)?),
        None => None,
    };
    world.point("after reading the parent")?;
    let joins = (command.session_id).filter(|session_id| *session_id != run_id.own_session());
    let (session, queued) = match joins {
        Some(session_id) => session::join(world, id, session_id, run_id, &user, command.on_busy)?,
        None => (
            SessionLink {
                id: run_id.own_session(),
                previous: None,
                budget: None,
                policy_context: None,
            },
            None,
        ),
    };
    let waits_in = queued.map(|_| session.id);
    let named = command.tools.clone().unwrap_or_default();
    let pins = registry::pins(&named, &world.tools).map_err(Stop::Rejected)?;
    let input = command.input.clone().into();
    let new = NewRun {
        given: None,
        run_id,
        command,
        input,
        pins,
        session,
        parent,
        user,
        trace_id: None,
        prompt_tokens: None,
        queued,
    };
    let catalog = world.catalog.clone();
    control(world, id, run_id, |run| {
        run::start(run, new.clone(), &catalog)
    })?;
    match waits_in {
        Some(session_id) => session::wait_in_line(world, id, session_id, run_id),
        None => Ok(()),
    }
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
        run::signal(run, input.as_str().into(), None)
    })
}

pub(crate) fn end_of_time(world: &mut World, id: &CommandId, command: EndOfTime) -> Step<()> {
    let EndOfTime {
        run,
        reservation_id,
        deadline,
    } = command;
    let end = |run: &Run, _| Ok(run::end_of_time(run, reservation_id, deadline));
    decide_run(world, run.run_id, id, "", run.last_seq, end).map(|_| ())
}
