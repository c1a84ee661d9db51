//! The official Python client of OpenAI, unmodified, against the platform as it is started. The cases
//! are in `openai/client.py`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

#[path = "support/python.rs"]
mod python;
mod support;

use nexus_modelserver::{Fault, Options, Reply, Rule, Script};
use serde_json::{Value, json};

use python::{Client, interpreter};
use support::{Platform, list, until};

const NOBODY_NAMED_MALLORY: &str = r#"package nexus.authz
import rego.v1
default decision := {"allow": true, "reasons": ["everybody else may"]}
decision := {"allow": false, "reasons": ["mallory may not"]} if input.user.id == "mallory"
"#;

fn rule(contains: &str, times: Option<u32>, reply: Reply) -> Rule {
    Rule {
        contains: Some(contains.to_owned()),
        times,
        reply,
        ..Rule::default()
    }
}

fn cut(text: &str) -> Reply {
    Reply {
        fault: Some(Fault::CutAfter(3)),
        chunk_delay_ms: 20,
        ..Reply::text(text)
    }
}

fn model() -> Options {
    let text = "one two three four five";
    let slow = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(600))
    };
    let rules = vec![
        rule("cut and again", Some(1), cut(text)),
        rule("cut and again", None, Reply::text(text)),
        rule("cut and other", Some(1), cut(text)),
        rule("cut and other", None, Reply::text("something else")),
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

/// Nothing is held for any call.
async fn is_settled(platform: &Platform) {
    until("all is settled", || async {
        let (status, held) = platform.get("/v1/reservations?status=held").await;
        status == 200 && list(&held).is_empty()
    })
    .await;
}

/// The status of a completion that this user asks for.
async fn asked_by(platform: &Platform, user: &str) -> u16 {
    let body = json!({
        "model": "test-model", "messages": [{ "role": "user", "content": "hello" }],
    });
    let request = platform.http().post(platform.url("/v1/chat/completions"));
    let request = request.header("Nexus-User", user).json(&body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_works_unmodified() {
    let Some(python) = interpreter("openai") else {
        return;
    };
    let platform = Platform::start(model()).await;
    let client = Client {
        python,
        platform: &platform,
        script: "openai/client.py",
    };

    let run_id = client.case("plain").await;
    let run = platform.ended(&run_id).await;
    assert_eq!(run["input"], "hello there");
    assert_eq!(run["metadata"], json!({ "a": "b", "user": "u1" }));
    assert_eq!(run["user_id"], "ada");

    client.case("conversation").await;
    let asked = platform.model.recorded().pop().unwrap().json();
    let told = &asked["messages"];
    assert_eq!(
        told[0],
        json!({ "role": "system", "content": "Speak like a heron." })
    );
    assert_eq!(told.as_array().unwrap().len(), 4, "{told}");

    for case in [
        "stream",
        "tools",
        "streamed_tools",
        "models",
        "restarts",
        "again",
    ] {
        client.case(case).await;
    }
    let (_, runs) = platform.get("/v1/runs?limit=200").await;
    let handed_over = list(&runs)
        .into_iter()
        .find(|run| run["finish"] == "tool_calls");
    let run_id = handed_over.expect("a run with calls")["id"].clone();
    let (_, run) = platform
        .get(&format!("/v1/runs/{}", run_id.as_str().unwrap()))
        .await;
    assert_eq!(run["status"], "completed");
    assert_eq!(run["tool_calls"][0]["status"], "handed_over", "{run}");

    let put = platform.http().put(platform.url("/v1/budgets/user/poor"));
    let limits = json!({ "limits": { "tokens": 5 } });
    let done = put.json(&limits).send().await.unwrap();
    assert!(done.status().is_success(), "{}", done.text().await.unwrap());
    let bundle = json!({ "modules": { "p.rego": NOBODY_NAMED_MALLORY }, "activate": true });
    let (status, done) = platform.post("/v1/policies", &bundle).await;
    assert!((200..300).contains(&status), "{done}");
    until("mallory is refused", || async {
        asked_by(&platform, "mallory").await == 403
    })
    .await;
    let refused = platform.ended(&client.case("errors").await).await;
    assert_eq!(refused["error_code"], "budget_exhausted", "{refused}");

    let left = platform.ended(&client.case("closes").await).await;
    assert_eq!(left["status"], "cancelled", "{left}");
    let tokens = |run: &Value| run["cost"]["tokens"].as_u64().unwrap_or(0);
    until("what was generated is charged", || async {
        let (_, run) = platform
            .get(&format!("/v1/runs/{}", left["id"].as_str().unwrap()))
            .await;
        tokens(&run) > 0
    })
    .await;

    for case in [
        "responses",
        "responses_stream",
        "responses_tools",
        "responses_background",
    ] {
        client.case(case).await;
    }
    is_settled(&platform).await;
}
