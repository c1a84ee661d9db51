//! Vectors of texts through the platform as it is started: the official Python client of OpenAI, what
//! is charged, what is refused, and a worker that dies in the middle of a call.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

#[path = "support/python.rs"]
mod python;
mod support;

use nexus_modelserver::{Fault, Options, Reply, Rule, Script};
use serde_json::{Value, json};

use python::{Client, interpreter};
use support::{Platform, list, until};

const MODEL: &str = "text-embedding-3-small";

const NO_VECTORS_FOR_MALLORY: &str = r#"package nexus.authz
import rego.v1
default decision := {"allow": true, "reasons": ["everybody else may"]}
decision := {"allow": false, "reasons": ["mallory gets no vectors"]} if {
    input.point == "llm.call"
    input.run.embeds
    input.user.id == "mallory"
}
"#;

fn rule(contains: &str, times: Option<u32>, reply: Reply) -> Rule {
    Rule {
        contains: Some(contains.to_owned()),
        times,
        reply,
        ..Rule::default()
    }
}

fn model() -> Options {
    let slow = Reply {
        first_byte_delay_ms: 3_000,
        ..Reply::default()
    };
    let status = |status| {
        Reply::fault(Fault::Status {
            status,
            retry_after_s: None,
            code: None,
            message: None,
        })
    };
    let rules = vec![
        rule("busy at first", Some(2), status(503)),
        rule(
            "cut at first",
            Some(1),
            Reply::fault(Fault::CutAfterBytes(40)),
        ),
        rule("too long", None, status(400)),
        rule("slowly please", None, slow),
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

async fn asked(platform: &Platform, user: &str, input: Value) -> (u16, Value) {
    let request = platform.http().post(platform.url("/v1/embeddings"));
    let body = json!({ "model": MODEL, "input": input });
    let answer = request.header("Nexus-User", user).json(&body).send().await;
    let answer = answer.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Nothing is held for any call, and what the ledger says was spent is what the server sent.
async fn is_settled_to_the_token(platform: &Platform) {
    until("all is settled", || async {
        let (status, held) = platform.get("/v1/reservations?status=held").await;
        status == 200 && list(&held).is_empty()
    })
    .await;
    let sent: u64 = (platform.model.sent().iter())
        .map(|sent| sent.input_tokens + sent.output_tokens)
        .sum();
    until("what was sent is spent", || async {
        let (_, budget) = platform.get("/v1/budgets/tenant").await;
        let spent = &budget["windows"][0]["total"]["tokens"];
        spent.as_u64() == Some(sent)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_gets_vectors_and_every_token_is_accounted_for() {
    let Some(python) = interpreter("openai") else {
        return;
    };
    let platform = Platform::start(model()).await;
    let client = Client {
        python,
        platform: &platform,
        script: "openai/embeddings.py",
    };
    let run_id = client.case("plain").await;
    let run = platform.ended(&run_id).await;
    assert_eq!(
        (&run["status"], &run["model"]),
        (&json!("completed"), &json!(MODEL))
    );
    assert_eq!(run["metadata"], json!({ "user": "u1" }));
    let calls = run["llm_calls"].as_array().unwrap();
    assert_eq!((calls.len(), &calls[0]["status"]), (1, &json!("embedded")));
    let events = platform.events(&run_id).await;
    let types: Vec<_> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(
        types.len(),
        6,
        "start, two judgements, a reservation, vectors, the end: {types:?}"
    );
    let said = format!(
        "/v1/sessions/{}/messages",
        run["session_id"].as_str().unwrap()
    );
    assert!(
        list(&platform.get(&said).await.1).is_empty(),
        "nobody was talked to"
    );
    for case in ["many", "again", "models"] {
        client.case(case).await;
    }
    let retried = platform.ended(&client.case("busy").await).await;
    assert_eq!(retried["llm_calls"][0]["attempts"], 3, "{retried}");
    is_settled_to_the_token(&platform).await;

    let put = platform.http().put(platform.url("/v1/budgets/user/poor"));
    let limits = json!({ "limits": { "tokens": 5 } });
    assert!(
        put.json(&limits)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let bundle = json!({ "modules": { "p.rego": NO_VECTORS_FOR_MALLORY }, "activate": true });
    let (status, done) = platform.post("/v1/policies", &bundle).await;
    assert!((200..300).contains(&status), "{done}");
    until("mallory is refused", || async {
        asked(&platform, "mallory", json!("hello")).await.0 == 403
    })
    .await;
    client.case("errors").await;
    is_settled_to_the_token(&platform).await;
    let verified = platform.json(&["projections", "verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_mid_call_is_followed_by_another_and_the_call_is_settled_once() {
    let mut platform = Platform::start(model()).await;
    let texts = json!(["slowly please", "and the other"]);
    let (http, url) = (platform.http().clone(), platform.url("/v1/embeddings"));
    let body = json!({ "model": MODEL, "input": texts });
    let asking = tokio::spawn(async move {
        let answer = http.post(url).json(&body).send().await.unwrap();
        let run = answer.headers()["nexus-run-id"]
            .to_str()
            .unwrap()
            .to_owned();
        (
            answer.status().as_u16(),
            run,
            answer.json::<Value>().await.unwrap(),
        )
    });
    until("the call is under way", || async {
        platform.model.counters().calls == 1
    })
    .await;
    platform.kill_and_restart("llm");
    let (status, run_id, answer) = asking.await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    let run = platform.ended(&run_id).await;
    assert_eq!(run["llm_calls"].as_array().unwrap().len(), 1, "{run}");
    let used = answer["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(run["cost"]["tokens"].as_u64(), Some(used));
    let events = platform.events(&run_id).await;
    let made = |event: &&Value| event["type"] == "nexus.run.texts-embedded.v1";
    assert_eq!(events.iter().filter(made).count(), 1);
    until("it is settled once", || async {
        let (_, budget) = platform.get("/v1/budgets/tenant").await;
        let empty = budget["reservations"].as_array().is_some_and(Vec::is_empty);
        empty && budget["windows"][0]["total"]["tokens"].as_u64() == Some(used)
    })
    .await;
}
