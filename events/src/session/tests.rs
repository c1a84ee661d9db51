//! Given what the session recorded, when somebody asks, then that is recorded.
#![expect(clippy::expect_used, reason = "a test may fail")]

mod queue;

use super::*;
use crate::aggregate::{Aggregate, Position};
use crate::command::{Budget, OpenSession};
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::{RunId, SessionId};
use crate::run::PreviousRun;
use crate::time::Timestamp;

type Decided = Result<Vec<SessionEvent>, DomainError>;

fn given(commits: impl IntoIterator<Item = Decided>) -> Session {
    let mut session = Session::default();
    for (commit, seq) in commits.into_iter().zip(1..) {
        for event in commit.expect("it was not refused") {
            let time = Timestamp::from_millis(1_000);
            session.evolve(
                &event,
                Position {
                    seq,
                    index: 0,
                    time,
                },
            );
        }
    }
    session
}

fn session_id() -> SessionId {
    SessionId::derive(&["session"])
}

fn run(name: &str) -> RunId {
    RunId::derive(&[name])
}

fn ada() -> Actor {
    Actor {
        user: "ada".into(),
        roles: vec!["developer".into()],
        ..Actor::default()
    }
}

fn opened() -> Decided {
    open(
        &Session::default(),
        session_id(),
        OpenSession::default(),
        ada(),
    )
}

fn wants(name: &str) -> Attach {
    Attach {
        session_id: session_id(),
        run_id: run(name),
        user: ada(),
        previous: None,
        busy: None,
        own_run_exists: false,
        on_busy: OnBusy::Reject,
    }
}

fn previous(name: &str) -> Option<PreviousRun> {
    Some(PreviousRun {
        run_id: run(name),
        first_seq: 3,
        context_tokens: 500,
    })
}

#[test]
fn a_session_is_opened_once_with_what_it_was_given() {
    let budget = Some(Budget {
        tokens: Some(1_000),
        ..Budget::default()
    });
    let metadata = [("team".to_owned(), "blue".to_owned())].into();
    let policy_context = serde_json::json!({ "channel": "web" }).as_object().cloned();
    let command = OpenSession {
        session_id: None,
        budget,
        policy_context: policy_context.clone(),
        on_busy: Some(OnBusy::Interrupt),
        metadata,
    };
    let session = given([open(&Session::default(), session_id(), command, ada())]);
    let opened = session.opened.clone().expect("it was opened");
    assert_eq!(
        (opened.session_id, opened.user, opened.budget),
        (session_id(), ada(), budget)
    );
    assert_eq!(
        (opened.policy_context, opened.opened_by_run),
        (policy_context, None)
    );
    assert_eq!(opened.on_busy, Some(OnBusy::Interrupt));
    let again = open(
        &session,
        session_id(),
        OpenSession::default(),
        Actor::default(),
    );
    assert_eq!(again, Ok(vec![]));
}

#[test]
fn labels_are_checked() {
    let metadata = [("k".repeat(65), String::new())].into();
    let command = OpenSession {
        metadata,
        ..OpenSession::default()
    };
    let refused = open(&Session::default(), session_id(), command, ada());
    assert_eq!(refused.expect_err("too long").code(), "invalid");
}

#[test]
fn runs_join_one_after_another() {
    let session = given([opened()]);
    let first = attach(&session, wants("a"));
    let attached = SessionRunAttached {
        run_id: run("a"),
        previous: None,
    };
    assert_eq!(first, Ok(vec![attached.into()]));
    let session = given([opened(), first]);
    let last = session.last.expect("it joined");
    assert_eq!((last.run_id, last.attached_seq), (run("a"), 2));
    assert_eq!(last.attached_at, Timestamp::from_millis(1_000));
    let second = attach(
        &session,
        Attach {
            previous: previous("a"),
            ..wants("b")
        },
    );
    let attached = SessionRunAttached {
        run_id: run("b"),
        previous: previous("a"),
    };
    assert_eq!(second, Ok(vec![attached.into()]));
}

#[test]
fn joining_again_is_nothing_even_when_it_was_closed_since() {
    let open = || [opened(), attach(&given([opened()]), wants("a"))];
    let session = given(open());
    assert_eq!(attach(&session, wants("a")), Ok(vec![]));
    let closed = close(&session, session_id());
    let session = given(open().into_iter().chain([closed]));
    assert_eq!(
        attach(
            &session,
            Attach {
                busy: Some(run("a")),
                ..wants("a")
            }
        ),
        Ok(vec![])
    );
}

#[test]
fn a_busy_session_says_with_which_run() {
    let session = given([opened()]);
    let busy = attach(
        &session,
        Attach {
            busy: Some(run("a")),
            ..wants("b")
        },
    );
    let error = busy.expect_err("it is busy");
    assert_eq!((error.code(), error.status()), ("session_busy", 409));
    assert!(error.to_string().contains(&run("a").to_string()), "{error}");
}

#[test]
fn a_closed_session_takes_no_run() {
    let session = given([opened()]);
    let session = given([opened(), close(&session, session_id())]);
    assert!(session.closed);
    assert_eq!(
        attach(&session, wants("a"))
            .expect_err("it is closed")
            .code(),
        "wrong_state"
    );
    assert_eq!(close(&session, session_id()), Ok(vec![]));
}

#[test]
fn what_does_not_exist_is_neither_joined_nor_closed() {
    let nothing = Session::default();
    assert_eq!(
        attach(&nothing, wants("a"))
            .expect_err("there is none")
            .code(),
        "not_found"
    );
    assert_eq!(
        close(&nothing, session_id())
            .expect_err("there is none")
            .code(),
        "not_found"
    );
}

#[test]
fn the_second_run_opens_the_session_that_the_first_one_implied() {
    let want = Attach {
        own_run_exists: true,
        previous: previous("own"),
        ..wants("b")
    };
    let joined = attach(&Session::default(), want);
    let session = given([joined]);
    let opened = session.opened.clone().expect("it was opened");
    assert_eq!(opened.opened_by_run, Some(RunId::new(session_id().uuid())));
    assert_eq!(opened.budget, None);
    let last = session.last.expect("it joined");
    assert_eq!((last.run_id, last.previous), (run("b"), previous("own")));
}

#[test]
fn an_implied_session_is_busy_while_its_own_run_goes_on() {
    let own = RunId::new(session_id().uuid());
    let want = Attach {
        own_run_exists: true,
        busy: Some(own),
        ..wants("b")
    };
    let refused = attach(&Session::default(), want);
    assert_eq!(refused.expect_err("it is busy").code(), "session_busy");
}
