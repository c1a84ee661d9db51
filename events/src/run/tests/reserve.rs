//! What a turn asks of the ledger, and what it learns.

use super::*;
use crate::catalog::{Catalog, ModelInfo};
use crate::ledger::{Limits, OnExhausted, OwnLimits, Scope};

fn learns(turn: u32, reserved: Reserved) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_reservation(run, turn, None, reserved)
}

#[test]
fn it_asks_in_every_scope_with_the_limits_that_it_brings() {
    let story = given([started_as(with_budget(5_000)), admitted()]);
    let ask = asks(&story.run, 1).expect("it is due");
    let run = Scope::Run(run_id());
    let scopes = [
        Scope::Tenant,
        Scope::User("ada".into()),
        Scope::Agent("default".into()),
        Scope::Session(run_id().own_session()),
        run.clone(),
    ];
    assert_eq!(ask.scopes, scopes);
    let limits = Limits {
        tokens: Some(5_000),
        ..Limits::default()
    };
    let own = OwnLimits {
        scope: run,
        limits,
        on_exhausted: OnExhausted::Reject,
    };
    assert_eq!(ask.own_limits, [own]);
    assert_eq!(ask.reservation_id, reservation(1, 0));
    assert_eq!(ask.input_tokens, story.run.context_tokens());
    assert_eq!(ask.max_output_tokens, 1_000);
}

#[test]
fn the_answer_is_bounded_by_the_room_in_the_models_context() {
    let story = given([started(), admitted()]);
    let room = |context_tokens| {
        let model = ModelInfo {
            context_tokens,
            ..model()
        };
        let models = [(MODEL.to_owned(), model)].into();
        let catalog = Catalog {
            models,
            ..catalog()
        };
        let asked = ask(&story.run, 1, None, &catalog).expect("the model is known");
        asked.map(|ask| ask.max_output_tokens)
    };
    let prompt = story.run.context_tokens();
    assert_eq!(room(prompt + 1_000), Some(1_000));
    // A longer prompt is summarised: half of the context at most is the prompt's.
    let context = prompt + 100;
    assert_eq!(room(context), Some(context / 2));
    assert_eq!(
        room(10),
        Some(16),
        "the provider says that the prompt is too long"
    );
}

#[test]
fn nothing_is_asked_before_or_after_the_turn_waits() {
    for story in [
        given([]),
        given([started()]),
        given(calling()),
        given(wanting(&["a"])),
    ] {
        assert_eq!(asks(&story.run, 1), None);
    }
    assert_eq!(asks(&given([started(), admitted()]).run, 2), None);
}

#[test]
fn a_grant_makes_the_call_due() {
    let story = given([started(), admitted()])
        .when(learns(1, Reserved::Granted(granted(1, 0))))
        .then(&["reservation-granted"])
        .due(&["call"]);
    let grant = story.run.grant.expect("it is held");
    assert_eq!(grant.reservation_id, reservation(1, 0));
    assert!(grant.covers_call_at(at(0).plus_millis(600_000)));
    assert!(!grant.covers_call_at(at(0).plus_millis(600_001)));
}

#[test]
fn a_refusal_ends_the_run_and_says_the_figures() {
    let story = given([started(), admitted()])
        .when(learns(1, Reserved::Refused(refusal())))
        .then(&["reservation-refused", "failed"])
        .due(&[])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert_eq!(failed.code, "budget_exhausted");
    assert!(
        failed.message.contains("at least 150 tokens"),
        "{}",
        failed.message
    );
    assert!(
        failed.message.contains("user ada has 100 left"),
        "{}",
        failed.message
    );
}

#[test]
fn the_ledgers_word_is_taken_once_and_only_by_the_turn_that_waits() {
    given(calling())
        .when(learns(1, Reserved::Granted(granted(1, 0))))
        .then_nothing();
    given(calling())
        .when(learns(1, Reserved::Refused(refusal())))
        .then_nothing()
        .is(Status::Running);
    given([started(), admitted()])
        .when(learns(2, Reserved::Granted(granted(2, 0))))
        .then_nothing();
    given([started()])
        .when(learns(1, Reserved::Granted(granted(1, 0))))
        .then_nothing();
}

#[test]
fn a_lapse_settles_nothing_and_asks_again_under_another_id() {
    let story = given(calling())
        .when(|run| record_lapse(run, 1))
        .then(&["reservation-lapsed"])
        .due(&["settle 0", "reserve"]);
    assert_eq!(story.run.grant, None);
    assert_eq!(
        asks(&story.run, 1).map(|ask| ask.reservation_id),
        Some(reservation(1, 1))
    );
    story
        .clone()
        .when(learns(1, Reserved::Granted(granted(1, 0))))
        .then_nothing()
        .when(learns(1, Reserved::Granted(granted(1, 1))))
        .then(&["reservation-granted"])
        .due(&["call"]);
}

#[test]
fn only_a_call_that_is_due_can_lapse() {
    given([started(), admitted()])
        .when(|run| record_lapse(run, 1))
        .then_nothing();
    given(calling())
        .when(|run| record_lapse(run, 2))
        .then_nothing();
    given(wanting(&["a"]))
        .when(|run| record_lapse(run, 1))
        .then_nothing();
}
