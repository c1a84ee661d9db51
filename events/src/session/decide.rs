//! What a session decides.

use super::queue::{self, MOST_QUEUED};
use super::{
    OnBusy, Session, SessionClosed, SessionEvent, SessionOpened, SessionRunAttached,
    SessionRunQueued,
};
use crate::command::OpenSession;
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::{RunId, SessionId};
use crate::run::PreviousRun;

/// Opens a conversation; opening it again is no event.
///
/// # Errors
/// [`DomainError::Invalid`]: too many or too long labels.
pub fn open(
    session: &Session,
    session_id: SessionId,
    command: OpenSession,
    user: Actor,
) -> Result<Vec<SessionEvent>, DomainError> {
    if session.opened.is_some() {
        return Ok(vec![]);
    }
    crate::run::check_labels(&command.metadata)?;
    let OpenSession {
        budget,
        policy_context,
        on_busy,
        metadata,
        ..
    } = command;
    let opened = SessionOpened {
        session_id,
        user,
        budget,
        policy_context,
        on_busy,
        metadata,
        opened_by_run: None,
    };
    Ok(vec![opened.into()])
}

/// What the handler knows of the run that wants to join, and of the last one.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The session.
    pub session_id: SessionId,
    /// The run that wants to join.
    pub run_id: RunId,
    /// Who starts it.
    pub user: Actor,
    /// The last run, where there is one and it has ended (or never began).
    pub previous: Option<PreviousRun>,
    /// The last run, where it is still going.
    pub busy: Option<RunId>,
    /// True when a run whose id is the session's exists: it opened the session implicitly.
    pub own_run_exists: bool,
    /// What it gets while another goes on.
    pub on_busy: OnBusy,
}

/// Lets a run join, or puts it into the queue where it wants to wait; either again is no event. Who
/// takes another's place takes it before those who wait for it.
///
/// # Errors
/// The session does not exist, is closed, is busy with another run, or too many wait already.
pub fn attach(session: &Session, want: Attach) -> Result<Vec<SessionEvent>, DomainError> {
    let id = want.session_id.to_string();
    if session.place(want.run_id).is_some() {
        return Ok(vec![]);
    }
    if session.closed {
        let state = "closed".to_owned();
        return Err(DomainError::WrongState {
            what: "session",
            id,
            state,
            action: "take a run",
        });
    }
    let busy = want.busy.or_else(|| match want.on_busy {
        OnBusy::Reject | OnBusy::Enqueue => session.queue.front().map(|queued| queued.run_id),
        OnBusy::Interrupt | OnBusy::Rollback => None,
    });
    let waits = busy.is_some() && want.on_busy == OnBusy::Enqueue;
    if waits && session.queue.len() >= MOST_QUEUED {
        return Err(queue::full(id));
    }
    if let Some(run) = busy.filter(|_| !waits) {
        return Err(DomainError::SessionBusy {
            session: id,
            run: run.to_string(),
        });
    }
    let mut events = vec![];
    if session.opened.is_none() {
        if !want.own_run_exists {
            return Err(DomainError::NotFound {
                what: "session",
                id,
            });
        }
        let opened = SessionOpened {
            session_id: want.session_id,
            user: want.user,
            budget: None,
            policy_context: None,
            on_busy: None,
            metadata: Default::default(),
            opened_by_run: Some(RunId::new(want.session_id.uuid())),
        };
        events.push(opened.into());
    }
    let (run_id, previous) = (want.run_id, want.previous);
    events.push(match waits {
        true => SessionRunQueued { run_id }.into(),
        false => SessionRunAttached { run_id, previous }.into(),
    });
    Ok(events)
}

/// Closes it; closing it again is no event.
///
/// # Errors
/// The session does not exist.
pub fn close(session: &Session, id: SessionId) -> Result<Vec<SessionEvent>, DomainError> {
    match (&session.opened, session.closed) {
        (None, _) => Err(DomainError::NotFound {
            what: "session",
            id: id.to_string(),
        }),
        (Some(_), true) => Ok(vec![]),
        (Some(_), false) => Ok(vec![SessionClosed {}.into()]),
    }
}
