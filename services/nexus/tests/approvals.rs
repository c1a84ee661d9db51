//! People are asked before a tool is called, with real processes that die: the question survives,
//! the answer is one decision, and nothing before it is done again.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use futures_util::future::join_all;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, ROLES, list, until};

/// Wants one calculation, then answers.
fn calculating_model() -> Options {
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("that is all"),
            ..Rule::default()
        },
        Rule {
            reply: Reply::tools([ScriptedCall::new(
                "calculator",
                &json!({ "expression": "6*7" }),
            )]),
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

/// A policy that asks before the calculator; what it requires is the caller's.
fn asking(require: &Value) -> String {
    format!(
        "package nexus.agent.policy\n\
         import rego.v1\n\
         default decision := {{\"allow\": true}}\n\
         decision := {{\"allow\": false, \"reasons\": [\"an unlucky number\"]}} if {{\n\
         \tcontains(input.tool.arguments.expression, \"13\")\n\
         }} else := {{\"allow\": true, \"require_approval\": {require}}} if {{\n\
         \tinput.tool.name == \"calculator\"\n\
         }}\n"
    )
}

fn one_boss() -> Value {
    json!({ "roles": ["boss"] })
}

async fn activate(platform: &Platform, text: &str) {
    let body = json!({ "modules": { "policy.rego": text }, "activate": true });
    let (status, answer) = platform.post("/v1/policies", &body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn platform(require: &Value) -> Platform {
    let platform = Platform::start(calculating_model()).await;
    activate(&platform, &asking(require)).await;
    platform
}

/// Starts a run, and waits until it asks: the run and the question.
async fn asked(platform: &Platform) -> (String, String) {
    let (status, run) = platform
        .post("/v1/runs", &json!({ "input": "what is 6*7?" }))
        .await;
    assert_eq!(status, 202, "{run}");
    let run_id = run["run_id"].as_str().unwrap().to_owned();
    let approval = next_question(platform, &run_id, None).await;
    (run_id, approval)
}

/// The question that a run waits for, other than the one before.
async fn next_question(platform: &Platform, run_id: &str, before: Option<&str>) -> String {
    let open = async || {
        let (_, run) = platform.get(&format!("/v1/runs/{run_id}")).await;
        let id = run["waiting_for"][0]["approval_id"].as_str()?.to_owned();
        (run["status"] == "waiting" && Some(id.as_str()) != before).then_some(id)
    };
    until("it waits for people", || async { open().await.is_some() }).await;
    open().await.unwrap()
}

async fn answer(
    platform: &Platform,
    approval: &str,
    verb: &str,
    (user, roles): (&str, &str),
    body: &Value,
) -> (u16, Value) {
    let path = format!("/v1/approvals/{approval}/{verb}");
    let request = platform.http().post(platform.url(&path)).json(body);
    let request = request
        .header("Nexus-User", user)
        .header("Nexus-Roles", roles);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn approve(platform: &Platform, approval: &str, who: (&str, &str)) -> (u16, Value) {
    answer(platform, approval, "approve", who, &json!({})).await
}

/// How often each type of event was recorded.
async fn count(platform: &Platform, run_id: &str, kind: &str) -> usize {
    let kind = format!("nexus.run.{kind}.v1");
    let events = platform.events(run_id).await;
    events.iter().filter(|event| event["type"] == *kind).count()
}

async fn question(platform: &Platform, approval: &str) -> Value {
    let (status, row) = platform.get(&format!("/v1/approvals/{approval}")).await;
    assert_eq!(status, 200, "{row}");
    row
}

const BOB: (&str, &str) = ("bob", "boss");
const EVE: (&str, &str) = ("eve", "boss,auditor");

#[tokio::test(flavor = "multi_thread")]
async fn the_question_survives_everybodys_death_and_nothing_is_done_again() {
    let mut platform = platform(&one_boss()).await;
    let (run_id, approval) = asked(&platform).await;
    assert_eq!(platform.model.counters().calls, 1);
    for role in ROLES {
        platform.kill_and_restart(role);
    }
    platform.ready().await;

    let listed = platform.json(&["approvals", "list", "--status", "pending", "--json"]);
    let row = list(&listed).remove(0);
    assert_eq!(row["id"], *approval);
    assert_eq!(row["arguments"], json!({ "expression": "6*7" }));
    assert_eq!(
        (&row["requester"], &row["status"]),
        (&json!("local"), &json!("pending"))
    );

    for who in [("local", "boss"), ("bob", "intern")] {
        let (status, problem) = approve(&platform, &approval, who).await;
        assert_eq!(
            (status, &problem["code"]),
            (403, &json!("forbidden")),
            "{problem}"
        );
    }
    let nobody = "00000000-0000-8000-8000-000000000000";
    assert_eq!(approve(&platform, nobody, BOB).await.0, 404);

    let (status, done) = approve(&platform, &approval, BOB).await;
    assert_eq!((status, &done["run_id"]), (200, &json!(run_id)), "{done}");
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    // The turn before the question was not repeated, and the tool was called once.
    assert_eq!(platform.model.counters().calls, 2);
    for (kind, times) in [
        ("llm-completed", 2),
        ("tool-started", 1),
        ("tool-completed", 1),
        ("approval-requested", 1),
        ("approval-granted", 1),
    ] {
        assert_eq!(count(&platform, &run_id, kind).await, times, "{kind}");
    }
    // Late: the same word again is no news, another one is refused.
    assert_eq!(approve(&platform, &approval, BOB).await.0, 200);
    for (verb, who) in [("approve", EVE), ("deny", BOB)] {
        let (status, problem) = answer(&platform, &approval, verb, who, &json!({})).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("wrong_state")),
            "{problem}"
        );
    }
    let (_, audit) = platform
        .get(&format!("/v1/audit?resource_id={approval}"))
        .await;
    let who: Vec<_> = (list(&audit).iter())
        .map(|entry| (entry["action"].clone(), entry["user_id"].clone()))
        .collect();
    let expected = [("approval.granted", "bob"), ("approval.requested", "local")];
    assert_eq!(
        who,
        expected.map(|(action, user)| (json!(action), json!(user)))
    );
    let verified = platform.json(&["projections", "verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consoles_at_once_are_one_decision() {
    let platform = platform(&one_boss()).await;
    let (run_id, approval) = asked(&platform).await;
    let people = [BOB, EVE].into_iter().cycle().take(16);
    let answers = join_all(people.map(|who| approve(&platform, &approval, who))).await;
    for (status, body) in &answers {
        let late = *status == 409 && body["code"] == "wrong_state";
        assert!(*status == 200 || late, "{status} {body}");
    }
    let agreed = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(agreed, 8, "one of them was first: {answers:?}");
    assert_eq!(platform.ended(&run_id).await["status"], "completed");
    assert_eq!(count(&platform, &run_id, "approval-granted").await, 1);
    assert_eq!(count(&platform, &run_id, "tool-started").await, 1);
    assert_eq!(platform.model.counters().calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_two_and_each_agrees_to_what_he_saw() {
    let platform = platform(&json!({ "roles": ["boss"], "count": 2 })).await;
    let (run_id, approval) = asked(&platform).await;
    let seen = question(&platform, &approval).await["subject"].clone();
    let other = json!({ "arguments": { "expression": "40+2" } });
    let (status, done) = answer(&platform, &approval, "approve", BOB, &other).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(approve(&platform, &approval, BOB).await.0, 200);
    let blind = json!({ "subject": seen });
    let (status, problem) = answer(&platform, &approval, "approve", EVE, &blind).await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("subject")),
        "{problem}"
    );
    until("the other arguments are shown", || async {
        let row = question(&platform, &approval).await;
        row["arguments"] == other["arguments"] && row["status"] == "pending"
    })
    .await;
    assert_eq!(approve(&platform, &approval, EVE).await.0, 200);
    let run = platform.ended(&run_id).await;
    assert_eq!(run["tool_calls"][0]["input"], other["arguments"], "{run}");
    assert_eq!(count(&platform, &run_id, "approval-granted").await, 2);
    assert_eq!(count(&platform, &run_id, "tool-started").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_arguments_are_judged_again() {
    let platform = platform(&one_boss()).await;
    let (run_id, approval) = asked(&platform).await;
    let unlucky = json!({ "arguments": { "expression": "13*13" }, "reason": "why not" });
    let (status, done) = answer(&platform, &approval, "approve", BOB, &unlucky).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(platform.ended(&run_id).await["status"], "completed");
    assert_eq!(count(&platform, &run_id, "tool-started").await, 0);
    let events = platform.events(&run_id).await;
    let judged = events.iter().rfind(|event| {
        event["type"] == "nexus.run.policy-decided.v1"
            && event["data"]["point"]["at"] == "tool.call"
    });
    let reasons = judged.unwrap()["data"]["reasons"].clone();
    assert_eq!(reasons, json!(["an unlucky number"]));
    // What is approved cannot be approved with something else afterwards.
    let (status, problem) = answer(&platform, &approval, "approve", BOB, &unlucky).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("wrong_state")),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn under_another_bundle_it_is_void_and_asked_anew() {
    let platform = platform(&one_boss()).await;
    let (run_id, first) = asked(&platform).await;
    let other = format!("{}# Changed.\n", asking(&one_boss()));
    activate(&platform, &other).await;
    assert_eq!(approve(&platform, &first, BOB).await.0, 200);
    let second = next_question(&platform, &run_id, Some(&first)).await;
    assert_eq!(question(&platform, &first).await["status"], "void");
    assert_eq!(count(&platform, &run_id, "tool-started").await, 0);
    let identity = ["--user", "eve", "--role", "boss", "--json"];
    let approve = [&["approvals", "approve", second.as_str()], &identity[..]].concat();
    assert_eq!(platform.json(&approve)["run_id"], *run_id);
    assert_eq!(platform.ended(&run_id).await["status"], "completed");
    assert_eq!(count(&platform, &run_id, "tool-started").await, 1);
    assert_eq!(platform.model.counters().calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_escalates_and_expires_a_question_though_its_role_died() {
    let mut platform = platform(&json!({
        "roles": ["boss"], "expires_seconds": 600,
        "escalate_seconds": 1, "escalate_to": ["chief"],
    }))
    .await;
    let (run_id, approval) = asked(&platform).await;
    platform.kill_and_restart("run");
    until("the chief may answer", || async {
        let row = question(&platform, &approval).await;
        row["roles"] == json!(["boss", "chief"])
    })
    .await;
    assert_eq!(approve(&platform, &approval, ("ceo", "chief")).await.0, 200);
    assert_eq!(platform.ended(&run_id).await["status"], "completed");

    let soon = json!({ "roles": ["boss"], "expires_seconds": 1 });
    activate(&platform, &asking(&soon)).await;
    let (_, run) = platform.post("/v1/runs", &json!({ "input": "6*7?" })).await;
    let run_id = run["run_id"].as_str().unwrap();
    let run = platform.ended(run_id).await;
    assert_eq!(run["status"], "completed", "the model is told: {run}");
    assert_eq!(run["tool_calls"][0]["status"], "denied", "{run}");
    assert_eq!(count(&platform, run_id, "tool-started").await, 0);
    let (_, expired) = platform
        .get(&format!("/v1/approvals?status=expired&run_id={run_id}"))
        .await;
    let id = list(&expired).remove(0)["id"].as_str().unwrap().to_owned();
    assert_eq!(approve(&platform, &id, BOB).await.0, 409);
}
