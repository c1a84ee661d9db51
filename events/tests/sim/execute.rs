//! What every worker does around a decision: read, decide, append, decide again on a conflict, and
//! publish what became due. A command that comes again finds its own commit and only publishes.

use std::rc::Rc;

use nexus_events::command::RunRef;
use nexus_events::run::{self, Run, RunEvent};
use nexus_events::session::Session;
use nexus_events::{CommandId, Commit, DomainError, RunId, Timestamp};

use super::log::{Kept, Loaded};
use super::world::{Step, Stop, World};

type Decision<A> = Result<Vec<<A as nexus_events::Aggregate>::Event>, DomainError>;

/// What became of a decision.
pub(crate) struct Done<A> {
    /// Sequence of the commit, an earlier delivery's included; none when nothing was to be decided.
    pub(crate) seq: Option<u64>,
    pub(crate) state: Rc<A>,
    pub(crate) last_seq: u64,
    /// It was appended now.
    pub(crate) fresh: bool,
}

/// A run as its command names it, perhaps not at its end. Nothing older is read after it.
pub(crate) fn load_run(world: &mut World, run: &mut RunRef) -> Rc<Run> {
    let id = run.run_id.to_string();
    let commits = world.reads::<Run>(&id, run.last_seq);
    let Loaded { state, last_seq } = world.log.load(&id, commits);
    run.last_seq = last_seq;
    state
}

/// A session, for a command of the session or of a run that joins it.
pub(crate) fn decide_session(
    world: &mut World,
    id: &str,
    cause: &CommandId,
    phase: &str,
    decide: impl Fn(&Session) -> Decision<Session>,
) -> Step<Done<Session>> {
    self::decide(world, id, cause, phase, u64::MAX, |session, _| {
        decide(session)
    })
}

/// A run, and what becomes due by it. `phase` tells the commits apart that one command makes.
pub(crate) fn decide_run(
    world: &mut World,
    run_id: RunId,
    cause: &CommandId,
    phase: &str,
    at_least: u64,
    decide: impl Fn(&Run, Timestamp) -> Decision<Run>,
) -> Step<Done<Run>> {
    let done = self::decide(world, &run_id.to_string(), cause, phase, at_least, decide)?;
    if let Some(seq) = done.seq {
        world.point("before reacting")?;
        world.publish(seq, run::react(&done.state, seq, done.last_seq))?;
    }
    Ok(done)
}

/// The events are the decision's alone: it cannot refuse.
pub(crate) fn record(
    world: &mut World,
    run: RunRef,
    cause: &CommandId,
    phase: &str,
    decide: impl Fn(&Run, Timestamp) -> Vec<RunEvent>,
) -> Step<Done<Run>> {
    let decide = |run: &Run, now| Ok(decide(run, now));
    decide_run(world, run.run_id, cause, phase, run.last_seq, decide)
}

fn decide<A: Kept>(
    world: &mut World,
    id: &str,
    cause: &CommandId,
    phase: &str,
    at_least: u64,
    decide: impl Fn(&A, Timestamp) -> Decision<A>,
) -> Step<Done<A>> {
    let commit_id = match phase {
        "" => Commit::<A::Event>::derive_id(cause, A::KIND),
        phase => format!("{}/{phase}", Commit::<A::Event>::derive_id(cause, A::KIND)),
    };
    let mut commits = world.reads::<A>(id, at_least);
    loop {
        let Loaded { state, last_seq } = world.log.load::<A>(id, commits);
        if let Some(seq) = world.log.find::<A>(id, commits, &commit_id) {
            return Ok(Done {
                seq: Some(seq),
                state,
                last_seq,
                fresh: false,
            });
        }
        world.point("after reading")?;
        let time = world.now;
        let decided = decide(&state, time);
        let is_final = decided.as_ref().is_ok_and(|events| !events.is_empty());
        if !is_final && commits < world.log.len::<A>(id) {
            // A refusal, and that nothing is to be done, only count on the newest state.
            commits = world.log.len::<A>(id);
            continue;
        }
        let events = decided.map_err(Stop::Rejected)?;
        if events.is_empty() {
            return Ok(Done {
                seq: None,
                state,
                last_seq,
                fresh: false,
            });
        }
        let commit = Commit {
            id: commit_id.clone(),
            causation: cause.clone(),
            correlation: None,
            time,
            traceparent: None,
            actor: None,
            events,
        };
        world.point("before appending")?;
        if let Ok(seq) = world.append::<A>(id, last_seq, commit) {
            let len = world.log.len::<A>(id);
            let Loaded { state, last_seq } = world.log.load(id, len);
            world.point("after appending")?;
            return Ok(Done {
                seq: Some(seq),
                state,
                last_seq,
                fresh: true,
            });
        }
        commits = world.log.len::<A>(id);
    }
}
