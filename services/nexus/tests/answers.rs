//! The answer cache against a platform of separate processes: what was asked is not asked again, by
//! this tenant, for as long as it is configured, and by nobody else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

mod support;

use std::sync::Mutex;

use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, until};

const FREE: &str = "[agents.default]\ncache = {}\n";

fn options() -> Options {
    let call = ScriptedCall::new("calculator", &json!({ "expression": "6*7" }));
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("It is 42."),
            ..Rule::default()
        },
        Rule {
            contains: Some("calculate".to_owned()),
            reply: Reply::tools([call]),
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

/// A run that has ended, as the read models have it.
async fn run(platform: &Platform, tenant: &str, body: &Value) -> Value {
    let http = platform.http();
    let request = http
        .post(platform.url("/v1/runs"))
        .header("nexus-tenant", tenant);
    let started: Value = request
        .json(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = started["run_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{started}"));
    let url = platform.url(&format!("/v1/runs/{id}"));
    let ended = Mutex::new(Value::Null);
    until("the run has ended", || async {
        let answer = http.get(&url).header("nexus-tenant", tenant).send().await;
        let run: Value = answer.unwrap().json().await.unwrap_or_default();
        let done = run["status"] == "completed" && run["llm_calls"][0].is_object();
        assert_ne!(run["status"], "failed", "{run}");
        *ended.lock().unwrap() = run;
        done
    })
    .await;
    ended.into_inner().unwrap()
}

fn calls(platform: &Platform) -> u64 {
    platform.model.counters().calls
}

/// Waits until so many answers are kept.
async fn kept(platform: &Platform, count: u64) {
    let client = async_nats::connect(platform.stack.nats.url())
        .await
        .unwrap();
    let js = async_nats::jetstream::new(client);
    until("answers are kept", || async {
        let stream = js.get_stream("NEXUS_ANS").await.unwrap();
        stream.cached_info().state.messages >= count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_not_asked_twice() {
    let platform = Platform::configured(options(), FREE).await;
    let client = async_nats::connect(platform.stack.nats.url())
        .await
        .unwrap();
    let mut live = client.subscribe("nexus.acme.live.run.*").await.unwrap();
    client.flush().await.unwrap();
    let question = json!({ "input": "calculate, please" });
    let first = run(&platform, "acme", &question).await;
    assert_eq!(calls(&platform), 2, "{first}");
    assert!(first["llm_calls"][0].get("cached").is_none(), "{first}");
    let asked = platform.model.recorded()[0].json();
    assert_eq!(
        asked["temperature"].as_f64(),
        Some(0.0),
        "opting in makes it so"
    );
    kept(&platform, 2).await;

    let second = run(&platform, "acme", &question).await;
    assert_eq!(calls(&platform), 2, "no request was made: {second}");
    assert_eq!(second["output"], first["output"]);
    for call in second["llm_calls"].as_array().unwrap() {
        assert!(
            call["cached"]["digest"]
                .as_str()
                .unwrap()
                .starts_with("sha256:"),
            "{call}"
        );
        assert!(call["cached"]["at"].is_string());
        let spent = (
            &call["input_tokens"],
            &call["cost_usd_micros"],
            &call["attempts"],
        );
        assert_eq!(spent, (&json!(0), &json!(0), &json!(0)), "{call}");
        assert!(call["response_id"].is_null());
    }
    let second_id = second["id"].as_str().unwrap();
    let heard = async {
        loop {
            let message = live.next().await.unwrap();
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            if message.subject.ends_with(second_id) && text.contains("It is 42.") {
                break;
            }
        }
    };
    (tokio::time::timeout(support::PATIENCE, heard).await).unwrap();

    // Somebody else's question, and a question with another tool, are others.
    run(&platform, "other", &question).await;
    assert_eq!(calls(&platform), 4, "no answer of another tenant's");
    let tools = json!({ "input": "calculate, please", "tools": ["calculator", "json_query"] });
    run(&platform, "acme", &tools).await;
    assert_eq!(calls(&platform), 6, "other tools");
    run(&platform, "acme", &json!({ "input": "calculate, please!" })).await;
    assert_eq!(calls(&platform), 8, "another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_opt_in_is_not_concerned() {
    let platform = Platform::configured(options(), "").await;
    for count in 1..=2 {
        run(&platform, "acme", &json!({ "input": "hello" })).await;
        assert_eq!(calls(&platform), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_expires_and_may_have_a_price() {
    let config = "[agents.default]\ncache = { ttl_seconds = 3, hit_price_percent = 50 }\n";
    let platform = Platform::configured(options(), config).await;
    let question = json!({ "input": "hello" });
    let first = run(&platform, "acme", &question).await;
    kept(&platform, 1).await;
    let seen = Mutex::new(false);
    until("it is asked anew", || async {
        let before = calls(&platform);
        let next = run(&platform, "acme", &question).await;
        let call = &next["llm_calls"][0];
        if call["cached"].is_object() {
            *seen.lock().unwrap() = true;
            assert_eq!(calls(&platform), before);
            assert_eq!(call["input_tokens"], first["llm_calls"][0]["input_tokens"]);
            let full = first["llm_calls"][0]["cost_usd_micros"].as_u64().unwrap();
            assert_eq!(call["cost_usd_micros"].as_u64(), Some(full.div_ceil(2)));
        }
        calls(&platform) > before
    })
    .await;
    assert!(*seen.lock().unwrap(), "it was given again before");
}
