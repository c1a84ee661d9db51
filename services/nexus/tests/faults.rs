//! Any process can die at any moment and every accepted run ends, each step has one outcome, nothing
//! stays reserved, nothing stays queued, and the tables are what a rebuild would make.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_bus::{Bus, BusConfig};
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, ROLES, until};

const RUNS: usize = 20;

/// Slow enough that every run is in flight when something dies: a tool call, then an answer.
fn slow_model() -> Options {
    let tools = Reply {
        chunk_delay_ms: 60,
        ..Reply::tools([
            ScriptedCall::new("calculator", &json!({ "expression": "6*7" })),
            ScriptedCall::new("calculator", &json!({ "expression": "1+1" })),
        ])
    };
    let answer = Reply {
        chunk_delay_ms: 60,
        ..Reply::text("It is forty two, I am sure of it")
    };
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: answer,
            ..Rule::default()
        },
        Rule {
            reply: tools,
            ..Rule::default()
        },
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

async fn start_runs(platform: &Platform) -> Vec<String> {
    let mut ids = vec![];
    for n in 0..RUNS {
        let (status, body) = platform
            .post(
                "/v1/runs",
                &json!({ "input": format!("what is 6*7? ({n})") }),
            )
            .await;
        assert_eq!(status, 202, "{body}");
        ids.push(body["run_id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Everything that must hold once the dust has settled.
async fn check(platform: &Platform, runs: &[String]) {
    for id in runs {
        let run = platform.ended(id).await;
        assert_eq!(run["status"], "completed", "{run}");
        one_outcome_a_step(&platform.events(id).await);
    }
    nothing_pending(platform).await;
    nothing_reserved(platform).await;
    spent_is_what_runs_used(platform, runs).await;
    let verified = platform.json(&["projections", "verify", "--json"]);
    assert_eq!(
        verified["equal"], true,
        "the tables differ from a rebuild: {verified}"
    );
    let dead = platform.json(&["dlq", "list", "--json"]);
    assert!(support::list(&dead).is_empty(), "{dead}");
}

fn one_outcome_a_step(events: &[Value]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in events {
        let kind = event["type"].as_str().unwrap();
        let data = &event["data"];
        let step = match kind {
            "nexus.run.started.v1" | "nexus.run.completed.v1" => kind.to_owned(),
            "nexus.run.llm-completed.v1" => format!("{kind} {}", data["turn"]),
            "nexus.run.tool-completed.v1" | "nexus.run.reservation-granted.v1" => {
                format!("{kind} {} {}", data["turn"], data["call_id"])
            }
            "nexus.run.policy-decided.v1" => format!("{kind} {}", data["point"]),
            _ => continue,
        };
        *seen.entry(step).or_default() += 1;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:#?}");
    let count = |prefix: &str| seen.keys().filter(|step| step.starts_with(prefix)).count();
    assert_eq!(count("nexus.run.llm-completed"), 2, "{seen:#?}");
    assert_eq!(count("nexus.run.tool-completed"), 2, "{seen:#?}");
}

async fn nothing_pending(platform: &Platform) {
    let bus = Bus::connect(BusConfig::new(platform.stack.nats.url(), "test"))
        .await
        .unwrap();
    until("the command stream is empty", || async {
        let Ok(mut stream) = bus.jetstream().get_stream("NEXUS_CMD").await else {
            return false;
        };
        stream
            .info()
            .await
            .is_ok_and(|info| info.state.messages == 0)
    })
    .await;
}

async fn nothing_reserved(platform: &Platform) {
    until("nothing is reserved", || async {
        let (status, budget) = platform.get("/v1/budgets/tenant").await;
        let empty = |field: &str| budget[field].as_array().is_none_or(Vec::is_empty);
        status == 200 && !empty("windows") && empty("reservations")
    })
    .await;
}

/// The ledger's spend is the sum of what the runs say they used, once the tables have caught up.
async fn spent_is_what_runs_used(platform: &Platform, runs: &[String]) {
    until("the ledger's spend is what the runs used", || async {
        let mut used = 0;
        for id in runs {
            let (_, run) = platform.get(&format!("/v1/runs/{id}")).await;
            used += run["cost"]["tokens"].as_u64().unwrap_or_default();
        }
        let (_, budget) = platform.get("/v1/budgets/tenant").await;
        used > 0 && find_u64(&budget, "spent", "tokens") == Some(used)
    })
    .await;
}

fn find_u64(value: &Value, outer: &str, inner: &str) -> Option<u64> {
    match value {
        Value::Object(map) => map
            .get(outer)
            .and_then(|found| found[inner].as_u64())
            .or_else(|| map.values().find_map(|below| find_u64(below, outer, inner))),
        Value::Array(items) => items.iter().find_map(|below| find_u64(below, outer, inner)),
        _ => None,
    }
}

/// Long enough for runs to be anywhere in their course, short enough that none has ended.
async fn in_flight(platform: &Platform) {
    until("models are being called", || async {
        platform.model.counters().calls >= 3
    })
    .await;
}

async fn survives_the_death_of(role: &'static str) {
    let mut platform = Platform::start(slow_model()).await;
    let runs = start_runs(&platform).await;
    in_flight(&platform).await;
    for _ in 0..3 {
        platform.kill_and_restart(role);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    platform.ready().await;
    check(&platform, &runs).await;
}

macro_rules! death_of {
    ($($name:ident = $role:literal),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            assert!(ROLES.contains(&$role));
            survives_the_death_of($role).await;
        })+
    };
}

death_of! {
    the_run_role_dies = "run",
    the_budget_role_dies = "budget",
    the_policy_role_dies = "policy",
    the_tool_role_dies = "tools",
    the_llm_role_dies = "llm",
    the_projector_dies = "projector",
    the_gateway_dies = "gateway",
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_dies() {
    let mut platform = Platform::start(slow_model()).await;
    let runs = start_runs(&platform).await;
    in_flight(&platform).await;
    for _ in 0..2 {
        platform.stack.nats.kill().await;
        platform.stack.nats.restart().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    check(&platform, &runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_dies() {
    let mut platform = Platform::start(slow_model()).await;
    let runs = start_runs(&platform).await;
    in_flight(&platform).await;
    for _ in 0..2 {
        platform.stack.postgres.kill().await;
        platform.stack.postgres.restart().await.unwrap();
    }
    check(&platform, &runs).await;
}

/// Starting up takes less time than Postgres takes to recover: it is away when they ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn roles_that_start_while_postgres_is_away_wait_for_it() {
    let mut platform = Platform::start(slow_model()).await;
    platform.stack.postgres.kill().await;
    platform.kill_and_restart("projector");
    platform.kill_and_restart("gateway");
    tokio::time::sleep(Duration::from_secs(2)).await;
    platform.stack.postgres.restart().await.unwrap();
    platform.ready().await;
    let runs = start_runs(&platform).await;
    check(&platform, &runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_dies_at_once() {
    let mut platform = Platform::start(slow_model()).await;
    let runs = start_runs(&platform).await;
    in_flight(&platform).await;
    platform.stack.nats.kill().await;
    platform.stack.postgres.kill().await;
    for role in ROLES {
        platform.kill_and_restart(role);
    }
    platform.stack.nats.restart().await.unwrap();
    platform.stack.postgres.restart().await.unwrap();
    platform.ready().await;
    check(&platform, &runs).await;
}
