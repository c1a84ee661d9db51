//! Opens and closes sessions, and lets runs join.

use nexus_events::command::{CloseSession, OpenSession};
use nexus_events::run::{PreviousRun, Run, SessionLink, Status};
use nexus_events::session::{self, Attach, LastRun, Session};
use nexus_events::{Actor, CommandId, RunId, SessionId};

use crate::sim::execute::decide_session;
use crate::sim::world::{Step, World};

/// A run that joined and never began blocks its session for this long.
pub(crate) const JOINING_AT_MOST_MS: u64 = 60_000;

pub(crate) fn open(world: &mut World, id: &CommandId, command: OpenSession) -> Step<()> {
    let session_id = command.session_id.expect("the client names its sessions");
    decide_session(world, &session_id.to_string(), id, |session| {
        session::open(session, session_id, command.clone(), Actor::default())
    })
    .map(|_| ())
}

pub(crate) fn close(world: &mut World, id: &CommandId, command: CloseSession) -> Step<()> {
    let session_id = command.session_id;
    decide_session(world, &session_id.to_string(), id, |state| {
        session::close(state, session_id)
    })
    .map(|_| ())
}

pub(crate) fn join(
    world: &mut World,
    id: &CommandId,
    session_id: SessionId,
    run_id: RunId,
    user: &Actor,
) -> Step<SessionLink> {
    let place = session_id.to_string();
    let last = world.log.latest::<Session>(&place).state.last;
    world.point("after reading the session")?;
    let mut want = Attach {
        session_id,
        run_id,
        user: user.clone(),
        previous: None,
        busy: None,
        own_run_exists: false,
    };
    match last {
        Some(last) if last.run_id == run_id => {}
        Some(last) => look_at(world, &mut want, last),
        None => look_at_own_run(world, &mut want),
    }
    world.point("after reading the last run")?;
    let done = decide_session(world, &place, id, |state| {
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
    })?;
    Ok(SessionLink {
        id: session_id,
        previous: done.state.last.and_then(|last| last.previous),
        budget: done.state.opened.as_ref().and_then(|opened| opened.budget),
        policy_context: None,
    })
}

fn look_at(world: &mut World, want: &mut Attach, last: LastRun) {
    let run = world.log.latest::<Run>(&last.run_id.to_string()).state;
    match run.status {
        Status::Unborn => {
            let waited = world.now.millis_since(last.attached_at);
            want.busy = (waited < JOINING_AT_MOST_MS).then_some(last.run_id);
            want.previous = last.previous;
        }
        status if status.is_terminal() => want.previous = previous(&run),
        _ => want.busy = Some(last.run_id),
    }
}

fn look_at_own_run(world: &mut World, want: &mut Attach) {
    let own = RunId::new(want.session_id.uuid());
    let run = world.log.latest::<Run>(&own.to_string()).state;
    want.own_run_exists = run
        .info()
        .is_some_and(|info| info.session.id == want.session_id);
    if want.own_run_exists {
        want.busy = (!run.status.is_terminal()).then_some(own);
        want.previous = previous(&run);
    }
}

fn previous(run: &Run) -> Option<PreviousRun> {
    run.started.as_ref().map(|started| PreviousRun {
        run_id: started.event.run_id,
        first_seq: started.first_seq,
        context_tokens: run.context_tokens(),
    })
}
