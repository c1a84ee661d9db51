//! Opens and closes sessions, and lets runs join.

use std::rc::Rc;

use nexus_events::command::{CloseSession, NextRun, OpenSession};
use nexus_events::run::{self, InQueue, PreviousRun, Run, SessionLink, Status, previous};
use nexus_events::session::{
    self, Attach, JOINING_AT_MOST_MS, LastRun, Next, OnBusy, Place, Session,
};
use nexus_events::{Actor, CommandId, Due, RunId, SessionId};

use crate::sim::execute::{decide_run, decide_session};
use crate::sim::world::{Step, Stop, World};

pub(crate) fn open(world: &mut World, id: &CommandId, command: OpenSession) -> Step<()> {
    let session_id = command.session_id.expect("the client names its sessions");
    decide_session(world, &session_id.to_string(), id, "", |session| {
        session::open(session, session_id, command.clone(), Actor::default())
    })
    .map(|_| ())
}

pub(crate) fn close(world: &mut World, id: &CommandId, command: CloseSession) -> Step<()> {
    let session_id = command.session_id;
    decide_session(world, &session_id.to_string(), id, "", |state| {
        session::close(state, session_id)
    })?;
    look_after(world, id, session_id)
}

/// A run's place in its session, and where it waits for its turn.
type Joined = (SessionLink, Option<InQueue>);

pub(crate) fn join(
    world: &mut World,
    id: &CommandId,
    session_id: SessionId,
    run_id: RunId,
    user: &Actor,
    on_busy: Option<OnBusy>,
) -> Step<Joined> {
    let place = session_id.to_string();
    let seen = world.log.latest::<Session>(&place).state;
    let last = seen.last;
    let of_session = seen.opened.as_ref().and_then(|opened| opened.on_busy);
    world.point("after reading the session")?;
    let mut want = Attach {
        session_id,
        run_id,
        user: user.clone(),
        previous: None,
        busy: None,
        own_run_exists: false,
        on_busy: on_busy.or(of_session).unwrap_or_default(),
    };
    match last {
        Some(last) if last.run_id == run_id => {}
        Some(last) => look_at(world, id, &mut want, last)?,
        None => look_at_own_run(world, id, &mut want)?,
    }
    world.point("after reading the last run")?;
    let decide = |state: &Session| {
        if state.last != last && state.last.is_some_and(|now| now.run_id != run_id) {
            let busy = state.last.map(|now| now.run_id);
            return session::attach(
                state,
                Attach {
                    busy,
                    ..want.clone()
                },
            );
        }
        session::attach(state, want.clone())
    };
    let mut done = decide_session(world, &place, id, "", decide)?;
    if done.state.place(run_id).is_none() {
        let label = format!("join after {}", done.last_seq);
        done = decide_session(world, &place, id, &label, decide)?;
    }
    let (previous, queued) = match done.state.place(run_id) {
        Some(Place::Joined(last)) => (last.previous, None),
        Some(Place::Queued(place)) => (None, Some(InQueue { seq: place.seq })),
        None => return Err(Stop::Killed),
    };
    let link = SessionLink {
        id: session_id,
        previous,
        budget: done.state.opened.as_ref().and_then(|opened| opened.budget),
        policy_context: None,
    };
    Ok((link, queued))
}

fn look_at(world: &mut World, id: &CommandId, want: &mut Attach, last: LastRun) -> Step<()> {
    let run = world.run(last.run_id);
    if run.status == Status::Unborn {
        let waited = world.now.millis_since(last.attached_at);
        want.busy = (waited < JOINING_AT_MOST_MS).then_some(last.run_id);
        want.previous = last.previous;
        return Ok(());
    }
    make_way(world, id, want, &run, last.previous)
}

fn look_at_own_run(world: &mut World, id: &CommandId, want: &mut Attach) -> Step<()> {
    let own = RunId::new(want.session_id.uuid());
    let run = world.run(own);
    want.own_run_exists = run
        .info()
        .is_some_and(|info| info.session.id == want.session_id);
    match want.own_run_exists {
        true => make_way(world, id, want, &run, None),
        false => Ok(()),
    }
}

fn make_way(
    world: &mut World,
    id: &CommandId,
    want: &mut Attach,
    seen: &Run,
    before: Option<PreviousRun>,
) -> Step<()> {
    let run_id = seen.info().expect("it began").run_id;
    want.previous = if seen.queued { before } else { previous(seen) };
    let goes_on = !seen.status.is_terminal();
    // One that is cancelled may have been so by this very command, and be owed what that made due.
    let cancels = goes_on || seen.status == Status::Cancelled;
    if want.on_busy != OnBusy::Interrupt || !cancels {
        want.busy = goes_on.then_some(run_id);
        return Ok(());
    }
    decide_run(
        world,
        run_id,
        id,
        "make way",
        u64::MAX,
        |run, _| match run.status.is_terminal() {
            true => Ok(vec![]),
            false => run::cancel(run, None),
        },
    )?;
    if !seen.queued {
        want.previous = previous(&world.run(run_id));
    }
    Ok(())
}

pub(crate) fn next_run(world: &mut World, id: &CommandId, command: NextRun) -> Step<()> {
    if let Some(run_id) = command.run_id {
        leave(world, id, command.session_id, run_id)?;
    }
    look_after(world, id, command.session_id)
}

fn leave(world: &mut World, id: &CommandId, session_id: SessionId, run_id: RunId) -> Step<()> {
    let label = format!("leave {run_id}");
    decide_session(world, &session_id.to_string(), id, &label, |session| {
        Ok(session::leave(session, run_id))
    })
    .map(|_| ())
}

/// A run that waits has begun.
pub(crate) fn wait_in_line(
    world: &mut World,
    id: &CommandId,
    session_id: SessionId,
    run_id: RunId,
) -> Step<()> {
    look_after(world, id, session_id)?;
    let session = world.log.latest::<Session>(&session_id.to_string()).state;
    world.point("after looking for its place")?;
    if session.place(run_id).is_none() {
        cancel_queued(world, id, run_id, "too late")?;
    }
    Ok(())
}

/// The command for which a run waits is refused.
pub(crate) fn give_up_place(
    world: &mut World,
    id: &CommandId,
    session_id: SessionId,
    run_id: RunId,
) -> Step<()> {
    let place = session_id.to_string();
    let found = decide_session(world, &place, id, "", |_| Ok(vec![]))?;
    for cancelled in found.state.latest(session_id) {
        decide_run(world, cancelled, id, "make way", u64::MAX, |_, _| {
            Ok(vec![])
        })?;
    }
    let waits = matches!(found.state.place(run_id), Some(Place::Queued(_)));
    if found.seq.is_some() && waits && world.run(run_id).status == Status::Unborn {
        leave(world, id, session_id, run_id)?;
        look_after(world, id, session_id)?;
    }
    Ok(())
}

fn cancel_queued(world: &mut World, id: &CommandId, run_id: RunId, label: &str) -> Step<()> {
    decide_run(world, run_id, id, label, u64::MAX, |run, _| {
        match run.status {
            Status::Queued => run::cancel(run, None),
            _ => Ok(vec![]),
        }
    })
    .map(|_| ())
}

/// Does what is to be done for those that wait.
fn look_after(world: &mut World, id: &CommandId, session_id: SessionId) -> Step<()> {
    let place = session_id.to_string();
    for n in 0..200 {
        let session = world.log.latest::<Session>(&place).state;
        world.point("after looking at the queue")?;
        let last_id = (session.last).map_or(RunId::new(session_id.uuid()), |last| last.run_id);
        if n == 0 {
            decide_run(world, last_id, id, "dequeue", u64::MAX, |_, _| Ok(vec![]))?;
        }
        let last = world.run(last_id);
        world.point("after looking at the last run")?;
        let first = match session.queue.front() {
            Some(first) => world.run(first.run_id),
            None => Rc::default(),
        };
        world.point("after looking at the first that waits")?;
        match session::next(&session, &last, &first, world.now) {
            Next::Rest => return Ok(()),
            Next::Tell {
                run_id,
                previous,
                awaited,
            } => {
                decide_run(world, run_id, id, "dequeue", u64::MAX, |run, _| {
                    Ok(run::dequeue(run, previous, awaited))
                })?;
            }
            Next::Await(run_id) => {
                let done = decide_run(world, run_id, id, "await", u64::MAX, |run, _| {
                    Ok(run::wait_for(run))
                })?;
                if !done.state.status.is_terminal() {
                    return Ok(());
                }
            }
            Next::LookAgain => {
                let again = NextRun {
                    session_id,
                    run_id: None,
                };
                let due = Due {
                    id: CommandId::derive(id.as_str(), "look again"),
                    command: again.into(),
                    actor: None,
                    at: Some(world.now.plus_millis(1_000)),
                };
                return world.set(due);
            }
            Next::Join { run_id, previous } => {
                let after = session.last.map(|last| last.run_id);
                let label = format!("begin {run_id}");
                decide_session(world, &place, id, &label, |now| {
                    Ok(session::begin(now, run_id, previous, after))
                })?;
            }
            Next::Cancel(run_id) => {
                cancel_queued(world, id, run_id, "closed")?;
                leave(world, id, session_id, run_id)?;
            }
            Next::Leave(run_id) => leave(world, id, session_id, run_id)?,
        }
    }
    panic!("the queue of {session_id} does not come to rest");
}
