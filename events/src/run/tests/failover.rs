//! A model call that failed is made again: of the same model or the agent's next one, judged and
//! reserved for anew, and no more often than is allowed.

use super::*;
use crate::catalog::{Catalog, ModelInfo};
use crate::policy::Obligations;

fn fails(turn: u32, again: Option<Again>) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    let failed = LlmFailed {
        again,
        ..no_answer(turn)
    };
    move |run| record_model(run, ModelOutcome::Failed(failed), at(1_010))
}

fn same() -> Option<Again> {
    Some(Again::SameModel)
}

fn next(model: &str) -> Option<Again> {
    Some(Again::NextModel(model.to_owned()))
}

/// Policy allows the call, and the ledger holds what it may spend.
fn goes_on(story: Story, round: u32) -> Story {
    (story.record(vec![judged(call_point(1), true).into()]))
        .when(move |run| record_reservation(run, 1, None, Reserved::Granted(granted(1, round))))
}

/// The run's agent may take these models.
fn agents(names: &[&str]) -> Catalog {
    let model = |name: &&str| -> (String, ModelInfo) { ((*name).to_owned(), model()) };
    Catalog {
        models: names.iter().map(model).collect(),
        agents: [(
            "default".to_owned(),
            names.iter().map(|&name| name.to_owned()).collect(),
        )]
        .into(),
        ..catalog()
    }
}

#[test]
fn what_was_used_is_settled_and_the_call_is_judged_and_reserved_for_anew() {
    let story = given(calling())
        .when(fails(1, same()))
        .then(&["llm-failed"])
        .due(&["settle 7", "evaluate"])
        .is(Status::Running);
    assert_eq!(story.run.grant, None, "what was held is not used again");
    assert_eq!(story.run.points_to_judge(), [call_point(1)]);
    let first = given([started()]).reacts();
    assert_ne!(first[0].id, story.reacts()[1].id);
    let story = (story.record(vec![judged(call_point(1), true).into()])).due(&["reserve"]);
    let asked = ask(&story.run, 1, None, &catalog()).expect("the model is known");
    assert_eq!(
        asked.map(|asked| asked.reservation_id),
        Some(reservation(1, 1))
    );
    // The first call's reservation covers nothing any more.
    (story.clone())
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted(1, 0))))
        .then_nothing();
    let story = story
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted(1, 1))))
        .due(&["call"])
        .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(1_020)))
        .then(&["llm-completed", "completed"])
        .due(&["settle 120"]);
    assert_eq!(story.run.usage.total_tokens(), 127, "both are charged");
    let settled: Vec<_> = (story.run.settling.iter())
        .map(|settling| (settling.reservation_id, settling.spent.tokens))
        .collect();
    let (first, second) = (reservation(1, 0), reservation(1, 1));
    assert_eq!(settled, [(Some(first), 7), (Some(second), 120)]);
}

#[test]
fn the_next_model_is_judged_before_it_is_called_and_kept() {
    let story = given(calling())
        .when(fails(1, next("other")))
        .then(&["llm-failed", "model-switched"])
        .due(&["settle 7", "evaluate"]);
    let switched = ModelSwitched {
        turn: 1,
        from: MODEL.into(),
        to: "other".into(),
        reason: "provider_unavailable".into(),
    };
    assert_eq!(story.events().last(), Some(&switched.into()));
    (story.clone())
        .when(|run| record_policy(run, vec![judged(call_point(1), false)], at(0)))
        .then(&["policy-decided", "failed"])
        .is(Status::Failed);
    let story = goes_on(story, 1)
        .when(|run| {
            let calls = answer(1, &[("a", "teleport")]);
            record_model(run, ModelOutcome::Completed(calls), at(1_020))
        })
        .due(&["settle 120", "evaluate"]);
    assert_eq!((story.run.turn, story.run.model.as_str()), (2, "other"));
    assert_eq!(story.run.failed_calls, []);
}

#[test]
fn a_model_that_failed_in_this_turn_is_not_taken_again() {
    let catalog = agents(&[MODEL, "second", "third"]);
    let story = given(calling());
    assert_eq!(next_model(&story.run, &catalog).as_deref(), Some("second"));
    let story = goes_on(story.when(fails(1, next("second"))), 1);
    assert_eq!(next_model(&story.run, &catalog).as_deref(), Some("third"));
    (story.clone())
        .when(fails(1, next(MODEL)))
        .then(&["llm-failed", "failed"]);
    let story = goes_on(story.when(fails(1, next("third"))), 2);
    assert_eq!(next_model(&story.run, &catalog), None);
}

#[test]
fn a_model_of_nobodys_list_or_that_policy_obliges_to_is_not_left() {
    let run = given(calling()).run;
    assert_eq!(next_model(&run, &agents(&["second", "third"])), None);
    assert_eq!(next_model(&run, &Catalog::default()), None);
    let obliged = PolicyDecided {
        obligations: Obligations {
            model: Some(MODEL.into()),
            ..Obligations::default()
        },
        ..judged(call_point(1), true)
    };
    let run = given([
        started(),
        vec![judged(PolicyPoint::RunStart, true).into(), obliged.into()],
    ])
    .run;
    assert_eq!(next_model(&run, &agents(&[MODEL, "second"])), None);
}

#[test]
fn a_turn_makes_so_many_calls_and_no_more() {
    let mut story = given(calling());
    for round in 1..MOST_CALLS {
        story = story.when(fails(1, same())).then(&["llm-failed"]);
        story = goes_on(story, round as u32);
    }
    let story = story
        .when(fails(1, same()))
        .then(&["llm-failed", "failed"])
        .due(&["settle 7"])
        .is(Status::Failed);
    let Some(RunEvent::LlmFailed(last)) = story.events().first() else {
        panic!("it failed")
    };
    assert_eq!(last.again, None);
    assert_eq!(story.run.usage.input_tokens, 7 * MOST_CALLS as u64);
}

#[test]
fn a_paused_run_calls_again_when_it_is_resumed() {
    given(calling())
        .asked(|run| pause(run, None))
        .when(fails(1, same()))
        .then(&["llm-failed"])
        .due(&["settle 7"])
        .asked(|run| resume(run, None))
        .due(&["evaluate"]);
}

#[test]
fn a_cancelled_run_does_not_call_again() {
    given(calling())
        .asked(|run| cancel(run, None))
        .when(fails(1, next("other")))
        .then(&["llm-aborted"])
        .due(&["settle 7"])
        .is(Status::Cancelled);
    given(calling())
        .when(fails(1, same()))
        .asked(|run| cancel(run, None))
        .due(&["end"])
        .is(Status::Cancelled);
}

#[test]
fn the_endpoints_that_failed_are_remembered_the_last_first() {
    let attempt = |endpoint: &str| RouteAttempt {
        endpoint: endpoint.to_owned(),
        ..RouteAttempt::default()
    };
    let routing = Routing {
        attempts: ["a", "b", "a", "c"].map(attempt).to_vec(),
        ..Routing::default()
    };
    let failed = LlmFailed {
        again: same(),
        routing: Some(routing.into()),
        ..no_answer(1)
    };
    let record = |run: &Run| record_model(run, ModelOutcome::Failed(failed), at(0));
    let story = given(calling()).when(record);
    assert_eq!(story.run.failed_calls[0].endpoints, ["c", "a", "b"]);
}
