//! A cheaper model is taken where the ledger offers one; policy judges it again.

use super::*;
use crate::catalog::{Catalog, ModelInfo, Price};
use crate::ledger::{OnExhausted, Refusal};

/// The run's agent may take three models; the dearest one is the default.
fn three() -> Catalog {
    let priced = |price: u64| ModelInfo {
        price: Price {
            input: price,
            cached_input: price,
            output: price,
            ..Price::default()
        },
        ..model()
    };
    let models = [("medium", priced(50_000)), ("tiny", priced(0))];
    let mut models: std::collections::BTreeMap<_, _> = models
        .into_iter()
        .map(|(name, model)| (name.to_owned(), model))
        .collect();
    models.insert(MODEL.into(), model());
    let names = ["tiny", "medium", MODEL].map(str::to_owned).to_vec();
    Catalog {
        models,
        agents: [("default".to_owned(), names)].into(),
        ..catalog()
    }
}

fn refused_for(model: Option<&str>) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    let refusal = Refusal {
        downgrade_to: model.map(str::to_owned),
        ..shortage(OnExhausted::Downgrade).into()
    };
    move |run| record_reservation(run, 1, None, Reserved::Refused(refusal))
}

#[test]
fn the_agents_cheaper_models_are_offered_the_dearest_first() {
    let story = given([started(), admitted()]);
    let asked = ask(&story.run, 1, None, &three()).expect("the model is known");
    let asked = asked.expect("it waits");
    let names: Vec<_> = asked.cheaper.iter().map(|one| one.model.as_str()).collect();
    assert_eq!(names, ["medium", "tiny"]);
    assert_eq!(asked.model.as_deref(), Some(MODEL));
}

#[test]
fn a_cheaper_model_is_judged_and_asked_for_under_another_id() {
    let story = given([started(), admitted()])
        .when(refused_for(Some("medium")))
        .then(&["reservation-refused", "model-downgraded"])
        .due(&["evaluate"])
        .is(Status::Running);
    let Some(RunEvent::ModelDowngraded(change)) = story.events().last() else {
        panic!("another model is taken")
    };
    assert_eq!(
        (change.from.as_str(), change.to.as_str()),
        (MODEL, "medium")
    );
    assert_eq!(story.run.points_to_judge(), [call_point(1)]);
    let first = given([started()]).reacts();
    let again = story.reacts();
    assert_ne!(
        first.first().map(|due| &due.id),
        again.first().map(|due| &due.id)
    );
    let story = story
        .record(vec![judged(call_point(1), true).into()])
        .due(&["reserve"]);
    let asked = ask(&story.run, 1, None, &three()).expect("the model is known");
    let asked = asked.expect("it waits");
    assert_eq!(asked.reservation_id, reservation(1, 1));
    assert_eq!(
        (asked.model.as_deref(), asked.cheaper.len()),
        (Some("medium"), 1)
    );
}

#[test]
fn it_stays_with_the_cheaper_model() {
    let story = given([started(), admitted()])
        .when(refused_for(Some("tiny")))
        .record(vec![judged(call_point(1), true).into()])
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted(1, 1))))
        .due(&["call"])
        .when(|run| {
            let calls = ModelOutcome::Completed(answer(1, &[("a", "teleport")]));
            record_model(run, calls, at(99))
        });
    assert_eq!((story.run.turn, story.run.model.as_str()), (2, "tiny"));
    assert_eq!(
        story.run.info().map(|info| info.model.as_str()),
        Some(MODEL)
    );
}

#[test]
fn policy_may_deny_the_cheaper_model() {
    given([started(), admitted()])
        .when(refused_for(Some("tiny")))
        .when(|run| record_policy(run, vec![judged(call_point(1), false)], at(0)))
        .then(&["policy-decided", "failed"])
        .is(Status::Failed);
}

#[test]
fn without_a_cheaper_model_the_run_fails() {
    given([started(), admitted()])
        .when(refused_for(None))
        .then(&["reservation-refused", "failed"])
        .is(Status::Failed);
}

#[test]
fn no_model_makes_a_tool_cheaper() {
    let refusal = Refusal {
        downgrade_to: Some("tiny".into()),
        ..shortage(OnExhausted::Downgrade).into()
    };
    given(allowed(&["a"]))
        .when(|run| record_reservation(run, 1, Some("a"), Reserved::Refused(refusal)))
        .then(&["reservation-refused", "failed"])
        .is(Status::Failed);
}

#[test]
fn a_model_that_a_worker_does_not_know_is_said() {
    let story = given([started(), admitted()]).when(refused_for(Some("medium")));
    let story = story.record(vec![judged(call_point(1), true).into()]);
    let unknown = ask(&story.run, 1, None, &catalog()).expect_err("it has one model");
    assert_eq!(unknown, UnknownModel("medium".into()));
}
