//! Decisions that were made, made again.

use nexus_events::command::{BacktestPolicy, ExplainPolicy, TryPolicy};
use nexus_events::policy::{BacktestReport, Difference, DryDecision, Explanation};
use nexus_events::{RunId, Tenant};
use serde_json::json;

use crate::stand::{Stand, tenant};

const FIRST: &str = "package nexus.agent.policy\nimport rego.v1\n\
    default allow := false\n\
    # Steps that are not tools.\n\
    allow if input.point != \"tool.call\"\n\
    # The calculator, while there are tokens.\n\
    allow if { input.tool.name == \"calculator\"; input.session.budget.tokens > 1000 }\n";
const NO_CALCULATOR_FOR_BOB: &str = "package nexus.agent.policy\nimport rego.v1\n\
    default allow := false\n\
    allow if input.point != \"tool.call\"\n\
    allow if { input.tool.name == \"calculator\"; input.user.id != \"bob\" }\n\
    allow if input.tool.name == \"clock\"\n";

/// Ten runs, five of them bob's, each with two tool calls.
async fn history(stand: &Stand, acme: &Tenant) -> Vec<RunId> {
    stand.publish(acme, FIRST, true).await;
    let mut runs = vec![];
    for n in 0..10 {
        let user = if n % 2 == 0 { "ann" } else { "bob" };
        let run = stand.start(acme, user).await;
        stand.decisions(acme, run, 2).await;
        stand.call_tools(acme, run, &["calculator", "clock"]).await;
        runs.push(run);
    }
    for run in &runs {
        let seen = stand.decisions(acme, *run, 4).await;
        let allowed: Vec<_> = seen.iter().map(|seen| seen.decided.allowed).collect();
        assert_eq!(allowed, [true, true, true, false], "{seen:?}");
        let left = seen[2]
            .decided
            .budget_left
            .expect("its session has a budget");
        assert_eq!(left.tokens, Some(5_000));
    }
    runs
}

async fn backtest(stand: &Stand, acme: &Tenant, command: BacktestPolicy) -> BacktestReport {
    let answer = stand.ask(acme, command).await;
    serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn modules(text: &str) -> std::collections::BTreeMap<String, String> {
    [("new.rego".to_owned(), text.to_owned())].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_that_decided_decides_the_same_again_and_another_one_says_what_changes() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let runs = history(&stand, &acme).await;
    // Another tenant's history is not this one's.
    stand.start(&tenant("other"), "bob").await;
    let same = BacktestPolicy {
        modules: modules(FIRST),
        ..BacktestPolicy::default()
    };
    let report = backtest(&stand, &acme, same).await;
    assert_eq!(
        (report.decisions, report.changed, report.skipped),
        (40, 0, 0)
    );
    assert_eq!(report.next_seq, None);
    let other = BacktestPolicy {
        modules: modules(NO_CALCULATOR_FOR_BOB),
        ..BacktestPolicy::default()
    };
    let report = backtest(&stand, &acme, other.clone()).await;
    assert_eq!((report.decisions, report.changed), (40, 15));
    assert_eq!(report.by_kind[&Difference::WouldDeny], 5);
    assert_eq!(report.by_kind[&Difference::WouldAllow], 10);
    assert_eq!(
        report.by_tool,
        [("calculator".to_owned(), 5), ("clock".to_owned(), 10)].into()
    );
    assert_eq!(
        report.by_user,
        [("ann".to_owned(), 5), ("bob".to_owned(), 10)].into()
    );
    assert_eq!(report.by_rule["nexus.agent.policy.allow@new.rego:6"], 10);
    assert_eq!(
        report.by_recorded_rule["nexus.agent.policy.allow@policy.rego:7"],
        5
    );
    assert_eq!(report.runs, runs.iter().copied().collect());
    assert_eq!(report.changes.len(), 15);
    assert!(
        report
            .changes
            .iter()
            .all(|change| runs.contains(&change.run_id))
    );

    // In two stretches, it is the same; the second begins in the middle of runs.
    let cut = report.changes[6].seq;
    let rest = backtest(
        &stand,
        &acme,
        BacktestPolicy {
            from_seq: Some(cut),
            ..other.clone()
        },
    )
    .await;
    assert_eq!(
        rest.changed,
        15 - report.changes.iter().filter(|c| c.seq < cut).count() as u64
    );
    assert_eq!(rest.skipped, 0);
    assert_eq!(rest.changes[..], report.changes[15 - rest.changes.len()..]);

    let future = BacktestPolicy {
        since: Some(stand.bus.now().plus_millis(60_000)),
        ..other.clone()
    };
    let nothing = backtest(&stand, &acme, future).await;
    assert_eq!((nothing.decisions, nothing.next_seq), (0, None));
    let past = BacktestPolicy {
        until: Some(stand.bus.now().plus_millis(60_000)),
        since: Some(nexus_events::Timestamp::from_millis(0)),
        ..other
    };
    assert_eq!(backtest(&stand, &acme, past).await.changed, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_explained_by_what_decided_it() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let runs = history(&stand, &acme).await;
    let ask = |call_id: Option<&str>, turn: Option<u32>| ExplainPolicy {
        run_id: runs[1],
        turn,
        call_id: call_id.map(str::to_owned),
    };
    let all: Explanation = serde_json::from_value(stand.ask(&acme, ask(None, None)).await).unwrap();
    assert_eq!(all.decisions.len(), 4);
    for explained in &all.decisions {
        assert_eq!(explained.remarks, Vec::<String>::new(), "{explained:?}");
        assert_eq!(
            explained.again.as_ref().unwrap().rules,
            explained.recorded.rules
        );
    }
    let one = ask(Some("call_calculator"), Some(1));
    let one: Explanation = serde_json::from_value(stand.ask(&acme, one).await).unwrap();
    assert_eq!(one.decisions.len(), 1);
    assert_eq!(one.decisions[0].places, ["policy.rego:7"]);
    let input = one.decisions[0].input.as_ref().unwrap();
    assert_eq!(input["tool"]["name"], "calculator");
    assert_eq!(input["session"]["budget"]["tokens"], 5_000);
    assert_eq!(input["user"]["id"], "bob");
    let nobody = ExplainPolicy {
        run_id: RunId::derive(&["none"]),
        turn: None,
        call_id: None,
    };
    assert_eq!(stand.ask(&acme, nobody).await["code"], "not_found");
    let other = stand.ask(&tenant("other"), ask(None, None)).await;
    assert_eq!(
        other["code"], "not_found",
        "another tenant's run does not exist"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_is_tried_on_any_bundle_without_a_trace() {
    let stand = Stand::new(1).await;
    let acme = tenant("acme");
    let digest = stand.publish(&acme, FIRST, false).await;
    let input = json!({
        "point": "tool.call", "tenant": "acme", "user": {"id": "ann"}, "tool": {"name": "clock"},
    });
    let tried = async |command: TryPolicy| -> DryDecision {
        let answer = stand.ask(&acme, command).await;
        serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
    };
    let active = tried(TryPolicy {
        input: input.clone(),
        ..TryPolicy::default()
    });
    assert!(active.await.bundle != digest);
    let published = tried(TryPolicy {
        input: input.clone(),
        digest: Some(digest.clone()),
        ..TryPolicy::default()
    })
    .await;
    assert_eq!((published.allowed, published.bundle), (false, digest));
    let given = tried(TryPolicy {
        input,
        modules: modules(NO_CALCULATOR_FOR_BOB),
        ..TryPolicy::default()
    })
    .await;
    assert_eq!(
        (given.allowed, given.places),
        (true, vec!["new.rego:6".to_owned()])
    );
    let broken = TryPolicy {
        modules: modules("package a\nallow {{"),
        ..TryPolicy::default()
    };
    let refused = stand.ask(&acme, broken).await;
    assert!(
        refused["detail"].as_str().unwrap().contains("new.rego:2:"),
        "{refused}"
    );
}
