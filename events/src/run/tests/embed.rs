//! Runs that make vectors: one model call without a conversation, whose outcome is the run's.

use super::*;
use crate::catalog::{Catalog, ModelInfo, Price};
use crate::command::StartRun;
use crate::ids::KeyId;
use crate::ledger::Scope;
use crate::model::Usage;

const EMBEDDER: &str = "embedder";

fn offered() -> Catalog {
    let price = Price {
        input: 20_000,
        cached_input: 20_000,
        ..Price::default()
    };
    let info = ModelInfo {
        context_tokens: 8_192,
        max_output_tokens: 0,
        price,
        ..model()
    };
    Catalog {
        embedders: [(EMBEDDER.to_owned(), info)].into(),
        ..catalog()
    }
}

fn wanted(texts: &[&str]) -> StartRun {
    StartRun {
        model: Some(EMBEDDER.into()),
        embed: Some(Embed {
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
            dimensions: None,
        }),
        ..StartRun::default()
    }
}

fn begun(tokens: u64) -> Story {
    let command = wanted(&["one", "two"]);
    let embed = command.embed.clone().expect("texts");
    let new = NewRun {
        given: Some(Given::of_texts(texts_text(&embed).into(), &embed)),
        prompt_tokens: Some(tokens),
        ..new_run(command)
    };
    given([start(&Run::default(), new, &offered()).expect("it is valid")])
}

/// The vectors may be made now.
fn at_work() -> Story {
    let granted = Granted {
        max_output_tokens: 0,
        ..granted(1, 0)
    };
    begun(20_000)
        .due(&["evaluate"])
        .when(|run| {
            let points = run.points_to_judge();
            let judged = points.into_iter().map(|point| judged(point, true));
            record_policy(run, judged.collect(), at(0))
        })
        .due(&["reserve"])
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted)))
        .due(&["call"])
}

fn made() -> ModelOutcome {
    let usage = Usage {
        input_tokens: 7,
        ..Usage::default()
    };
    ModelOutcome::Embedded(Box::new(TextsEmbedded {
        call: LlmCompleted {
            text: "".into(),
            usage,
            cost_usd_micros: 1,
            ..answer(1, &[])
        },
        vectors: "AAAAAAAAAAA=".into(),
        count: 2,
        dimensions: 1,
    }))
}

#[test]
fn the_vectors_end_the_run_and_what_they_cost_is_settled() {
    let story = at_work()
        .when(|run| record_model(run, made(), at(100)))
        .then(&["texts-embedded", "completed"])
        .is(Status::Completed)
        .due(&["settle 7"]);
    let last = story.run.settling.last().expect("it is settled");
    assert!(last.ends_run);
    assert!(story.run.entries.is_empty(), "nobody said anything");
    let again = story.when(|run| record_model(run, made(), at(200)));
    assert!(again.events().is_empty(), "a call has one outcome");
}

#[test]
fn all_texts_are_reserved_whatever_one_may_have_and_no_answer_beside_them() {
    let story = begun(20_000).when(|run| {
        let points = run.points_to_judge();
        let judged = points.into_iter().map(|point| judged(point, true));
        record_policy(run, judged.collect(), at(0))
    });
    let asked = ask(&story.run, 1, None, &offered()).expect("known");
    let asked = asked.expect("it is due");
    assert_eq!((asked.input_tokens, asked.max_output_tokens), (20_000, 0));
    assert_eq!(asked.model.as_deref(), Some(EMBEDDER));
    assert!(asked.cheaper.is_empty(), "other vectors are of no use");
    assert_eq!(next_model(&story.run, &offered()), None);
    // Who has no such model says so, and takes none that talks instead.
    assert!(ask(&story.run, 1, None, &catalog()).is_err());
}

#[test]
fn an_outcome_after_the_end_is_charged_and_nobody_is_talked_to() {
    at_work()
        .asked(|run| signal(run, "hello".into(), None))
        .refused("invalid");
    at_work()
        .asked(|run| cancel(run, None))
        .when(|run| record_model(run, made(), at(100)))
        .then(&["llm-aborted"])
        .due(&["settle 7"]);
}

#[test]
fn what_cannot_become_vectors_is_refused_with_its_field() {
    let limits = StartLimits { input_bytes: 10 };
    let refused = |command: &StartRun| match validate(command, &offered(), limits) {
        Ok(()) => None,
        Err(DomainError::Invalid { field, .. }) => Some(field),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(refused(&wanted(&["one", "two"])), None);
    let none = wanted(&[]);
    let many = wanted(&["a"; 2_049]);
    let empty = wanted(&["one", ""]);
    let long = wanted(&["12345", "678901"]);
    for command in [none, many, empty, long] {
        assert_eq!(refused(&command).as_deref(), Some("embed.texts"));
    }
    let with = |change: fn(&mut StartRun)| {
        let mut command = wanted(&["one"]);
        change(&mut command);
        refused(&command)
    };
    let field = |name: &str| Some(name.to_owned());
    assert_eq!(with(|run| run.model = Some(MODEL.into())), field("model"));
    assert_eq!(with(|run| run.model = None), field("model"));
    assert_eq!(with(|run| run.input = "hello".into()), field("input"));
    let dimensions = with(|run| {
        run.embed = Some(Embed {
            texts: vec!["one".into()],
            dimensions: Some(0),
        });
    });
    assert_eq!(dimensions, field("embed.dimensions"));
    // And a model that makes vectors answers no conversation.
    let talks = StartRun {
        model: Some(EMBEDDER.into()),
        ..hello()
    };
    assert_eq!(refused(&talks), field("model"));
}

#[test]
fn what_is_started_with_a_key_counts_in_the_keys_limits() {
    let key = KeyId::derive(&["key"]);
    let mut new = new_run(hello());
    new.user.key = Some(key);
    let story = given([start(&Run::default(), new, &catalog()).expect("it is valid")]);
    let info = story.run.info().expect("it began");
    assert!(scopes_of(info).contains(&Scope::Key(key)));
    let without = given([started()]);
    let without = scopes_of(without.run.info().expect("it began"));
    assert!(!without.iter().any(|scope| scope.kind() == "key"));
}
