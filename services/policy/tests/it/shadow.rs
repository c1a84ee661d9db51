//! A bundle in shadow is asked and recorded, and changes nothing.

use nexus_events::command::ShadowBundle;
use nexus_events::policy::Difference;
use nexus_events::run::PolicyDecided;

use crate::stand::{Stand, tenant};

const DENIES_BOB: &str = "package nexus.agent.policy\nimport rego.v1\n\
    default allow := false\nallow if input.user.id != \"bob\"\n";
const FOR_EVER: &str = "package nexus.agent.policy\nimport rego.v1\n\
    xs := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]\n\
    allow if { count([1 | some a in xs; some b in xs; some c in xs; some d in xs; some e in xs; a + b + c + d + e > 0]) > 0 }\n";

/// What of a decision counts.
fn effect(mut decided: PolicyDecided) -> PolicyDecided {
    decided.shadow = None;
    decided.duration_us = 0;
    decided
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_changes_nothing_and_is_recorded() {
    let stand = Stand::new(1).await;
    let (with, without) = (tenant("with"), tenant("without"));
    let shadow = stand.publish(&with, DENIES_BOB, false).await;
    let digest = Some(shadow.clone());
    let answer = stand.ask(&with, ShadowBundle { digest }).await;
    assert_eq!(answer["digest"], shadow.as_str());
    // Until the worker has compiled it, decisions are made without it.
    let mut asked = 0;
    for n in 0..200 {
        let user = if n % 2 == 0 { "ann" } else { "bob" };
        let run = stand.start(&with, user).await;
        let beside = stand.start(&without, user).await;
        let decisions = stand.decisions(&with, run, 2).await;
        let plain = stand.decisions(&without, beside, 2).await;
        for (seen, plain) in decisions.into_iter().zip(plain) {
            if let Some(shadow) = &seen.decided.shadow {
                asked += 1;
                let differs = (user == "bob").then_some(Difference::WouldDeny);
                assert_eq!((shadow.differs, shadow.allowed), (differs, user == "ann"));
                assert_eq!(shadow.rules.is_empty(), differs.is_none());
            }
            assert_eq!(effect(seen.decided), effect(plain.decided));
        }
        if asked >= 20 {
            break;
        }
    }
    assert!(asked >= 20, "the shadow was asked {asked} times");
    let none = ShadowBundle { digest: None };
    stand.ask(&with, none).await;
    for _ in 0..500 {
        let run = stand.start(&with, "bob").await;
        let seen = stand.decisions(&with, run, 2).await;
        if seen[0].decided.shadow.is_none() {
            return;
        }
    }
    panic!("it is still asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_never_ends_fails_by_itself() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let digest = Some(stand.publish(&acme, FOR_EVER, false).await);
    stand.ask(&acme, ShadowBundle { digest }).await;
    for _ in 0..200 {
        let run = stand.start(&acme, "ann").await;
        let seen = stand.decisions(&acme, run, 2).await;
        assert!(
            seen.iter()
                .all(|seen| seen.decided.allowed && seen.decided.error.is_none())
        );
        if let Some(shadow) = &seen[0].decided.shadow {
            assert_eq!(shadow.differs, Some(Difference::Failed));
            assert!(
                shadow
                    .error
                    .as_ref()
                    .is_some_and(|error| error.contains("took"))
            );
            return;
        }
    }
    panic!("the shadow was never asked");
}
