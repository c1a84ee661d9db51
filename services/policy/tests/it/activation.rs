//! Which bundle decides, while that changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nexus_events::command::RollBackBundle;
use nexus_events::policy::BUILTIN;
use serde_json::json;

use crate::stand::{Stand, tenant};

/// Allows all, and says its name with each decision.
fn named(name: &str) -> String {
    format!(
        "package nexus.agent.policy\nimport rego.v1\n\
         decision := {{\"allow\": true, \"rule\": concat(\".\", [\"{name}\", input.point]), \"reason\": \"{name}\"}}\n"
    )
}

/// What was active from when on, by the time that the log has.
struct Activations(Vec<(i64, String)>);

impl Activations {
    /// Whether the bundle was active at some moment in the second before, or is it since.
    fn were_within_a_second(&self, digest: &str, time_ms: i64) -> bool {
        self.0.iter().enumerate().any(|(index, (from, name))| {
            let until = self.0.get(index + 1).map_or(i64::MAX, |(next, _)| *next);
            name == digest && *from <= time_ms && time_ms <= until.saturating_add(1_000)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activation_under_load_loses_no_decision_and_mixes_no_bundles() {
    let mut stand = Stand::new(3).await;
    let acme = tenant("acme");
    let builtin = nexus_policy::engine::builtin().unwrap().digest().to_owned();
    let mut activations = Activations(vec![(0, builtin)]);
    let mut runs = vec![];
    let began = Instant::now();
    // Long enough for what is a second old to matter.
    for round in 0.. {
        if began.elapsed() > Duration::from_secs(4) {
            break;
        }
        for n in 0..10 {
            runs.push(stand.start(&acme, &format!("u{n}")).await);
        }
        if round == 20 {
            stand.kill_worker();
            stand.start_worker().await;
        }
        let before = stand.bus.now().as_millis();
        let digest = stand
            .publish(&acme, &named(&format!("b{round}")), true)
            .await;
        activations.0.push((before, digest));
    }
    let mut used = BTreeSet::new();
    for run in runs {
        let seen = stand.decisions(&acme, run, 2).await;
        assert_eq!(seen.len(), 2, "each step is judged once: {seen:?}");
        assert_eq!(seen[0].seq, seen[1].seq, "one commit");
        assert_eq!(seen[0].decided.bundle, seen[1].decided.bundle, "one bundle");
        for seen in seen {
            let digest = seen.decided.bundle;
            assert!(
                activations.were_within_a_second(&digest, seen.time_ms),
                "{digest} decided at {} under {:?}",
                seen.time_ms,
                activations.0
            );
            let place = activations.0.iter().position(|(_, known)| *known == digest);
            if let Some(round) = place.unwrap().checked_sub(1) {
                let name = format!("b{round}");
                assert_eq!(
                    seen.decided.reasons,
                    [name.as_str()],
                    "its words are the bundle's own"
                );
                assert!(seen.decided.rules[0].starts_with(&format!("{name}.")));
            }
            used.insert(digest);
        }
    }
    assert!(used.len() > 2, "several bundles decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_mid_decision_loses_none() {
    let mut stand = Stand::new(1).await;
    let acme = tenant("acme");
    stand.publish(&acme, &named("a"), true).await;
    let mut runs = vec![];
    for n in 0..60 {
        runs.push(stand.start(&acme, &format!("u{n}")).await);
        if n % 20 == 10 {
            stand.kill_worker();
            stand.start_worker().await;
        }
    }
    for run in runs {
        let seen = stand.decisions(&acme, run, 2).await;
        assert_eq!(seen.len(), 2, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_decides_by_the_bundle_before() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let refused = stand.ask(&acme, RollBackBundle {}).await;
    assert_eq!(refused["code"], "wrong_state", "{refused}");
    let a = stand.publish(&acme, &named("a"), true).await;
    let b = stand.publish(&acme, &named("b"), true).await;
    let back = stand.ask(&acme, RollBackBundle {}).await;
    assert_eq!(back["digest"], json!(a));
    let decided_by = async |digest: &str| {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let run = stand.start(&acme, "ann").await;
                let seen = stand.decisions(&acme, run, 2).await;
                if seen[0].decided.bundle == digest {
                    return;
                }
                assert_eq!(
                    seen[0].decided.bundle, b,
                    "what was active half a second ago"
                );
            }
        });
        waited.await.expect("within a second");
    };
    decided_by(&a).await;
    let back = stand.ask(&acme, RollBackBundle {}).await;
    assert_eq!(back["digest"], json!(BUILTIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_says_where_and_why() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let refused = async |text: &str| {
        let bundle = nexus_events::command::PublishBundle {
            modules: [("rules.rego".to_owned(), text.to_owned())].into(),
            data: serde_json::Map::new(),
            activate: true,
        };
        stand.ask(&acme, bundle).await["detail"].to_string()
    };
    let broken = refused("package a\nallow := true\nallow if {").await;
    assert!(broken.contains("rules.rego:3:"), "{broken}");
    let failing = "package a\nimport rego.v1\nallow := true\n\ntest_no if {\n\tnot allow\n}\n";
    let failed = refused(failing).await;
    assert!(
        failed.contains("rules.rego:5: test a.test_no failed"),
        "{failed}"
    );
    let run = stand.start(&acme, "ann").await;
    let seen = stand.decisions(&acme, run, 2).await;
    assert!(
        seen.iter().all(|seen| seen.decided.allowed),
        "the builtin decides on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_whose_text_is_gone_denies() {
    let mut stand = Stand::new(1).await;
    let acme = tenant("acme");
    let long = format!("{}# {}\n", named("long"), "x".repeat(100_000));
    let digest = stand.publish(&acme, &long, true).await;
    let objects = stand.bus.jetstream().get_stream("NEXUS_OBJ").await.unwrap();
    objects.purge().await.unwrap();
    // A worker that has not compiled it while it was there.
    stand.kill_worker();
    stand.start_worker().await;
    let run = stand.start(&acme, "ann").await;
    let seen = stand.decisions(&acme, run, 1).await;
    let decided = &seen[0].decided;
    assert_eq!((decided.allowed, &decided.bundle), (false, &digest));
    assert!(
        decided
            .error
            .as_ref()
            .is_some_and(|error| error.contains("does not exist"))
    );
}
