//! The roles, each in the shape of the real one and as small as a simulation allows.

mod budget;
mod llm;
mod policy;
mod reserve;
mod run;
mod session;
mod tool;

use nexus_events::ledger::{Ledger, LedgerEvent};
use nexus_events::{Command, CommandId, Timestamp};

use super::world::{Step, World};

pub(crate) fn handle(world: &mut World, id: &CommandId, command: Command) -> Step<()> {
    match command {
        Command::StartRun(start) => run::start(world, id, start),
        Command::CancelRun(cancel) => run::cancel(world, id, cancel.0),
        Command::PauseRun(pause) => run::pause(world, id, pause.0),
        Command::ResumeRun(resume) => run::resume(world, id, resume.0),
        Command::SignalRun(signal) => run::signal(world, id, signal),
        Command::NextRun(next) => session::next_run(world, id, next),
        Command::OpenSession(open) => session::open(world, id, open),
        Command::CloseSession(close) => session::close(world, id, close),
        Command::EndOfTime(end) => run::end_of_time(world, id, end),
        Command::EvaluatePolicy(evaluate) => policy::evaluate(world, id, evaluate.run),
        Command::CallModel(call) => llm::call(world, id, call),
        Command::ExecuteTool(execute) => tool::execute(world, id, execute),
        Command::ResolveTool(resolve) => tool::resolve(world, id, resolve),
        Command::PublishBundle(_) | Command::ActivateBundle(_) => Ok(()),
        ledgers => budget::handle(world, id, ledgers),
    }
}

/// Sets limits at once, before anybody else is there.
pub(crate) fn limits(
    world: &mut World,
    cause: &CommandId,
    decide: impl Fn(&Ledger, Timestamp) -> Vec<LedgerEvent>,
) -> Step<()> {
    let decide = |ledger: &Ledger, now| Ok::<_, ()>(decide(ledger, now));
    budget::decide(world, &budget::Cause::of(cause), decide).map(|_| ())
}
