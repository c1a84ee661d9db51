//! A conversation that outgrows its model, with real processes: what is oldest is summarised by a
//! governed call, whoever dies meanwhile, and the log keeps what was said.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use nexus_modelserver::{ModelServer, Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, list, until};

const SUMMARY: &str = "Ada books rooms; the first was blue.";

/// A model that reads 2,500 tokens.
const CONFIG: &str = r#"
[[models.providers]]
name = "small"
kind = "openai"
base_url = "BASE"
[[models.providers.models]]
name = "short"
context_tokens = 3000
max_output_tokens = 500
price = { input = 1000000, cached_input = 1000000, output = 2000000 }
"#;

fn options() -> Options {
    let rules = vec![
        Rule {
            contains: Some("[user]".to_owned()),
            reply: Reply {
                chunk_delay_ms: 100,
                ..Reply::text(SUMMARY)
            },
            ..Rule::default()
        },
        Rule {
            reply: Reply::text("As you wish."),
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

async fn say(platform: &Platform, session: &str, words: &str) -> String {
    let body = json!({
        "input": words, "session_id": session, "model": "short", "tools": [],
    });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

fn summaries(events: &[Value]) -> Vec<Value> {
    (events.iter())
        .filter(|event| event["type"] == "nexus.run.context-summarised.v1")
        .map(|event| event["data"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outgrows_the_model_is_summarised_and_stays_on_the_log() {
    let model = ModelServer::start(options()).await.unwrap();
    let config = CONFIG.replace("BASE", &model.base_url());
    let mut platform = Platform::configured(Options::default(), &config).await;
    let (status, session) = platform.post("/v1/sessions", &json!({})).await;
    assert!(status < 300, "{session}");
    let session = session["session_id"].as_str().unwrap().to_owned();
    let long = |number: usize| format!("Room number {number}. {}", "blue room ".repeat(150));

    let limits = json!({ "limits": { "tokens": 10_000_000 } });
    let url = platform.url("/v1/budgets/tenant");
    let set = platform.http().put(url).json(&limits).send().await.unwrap();
    assert!(set.status().is_success(), "{}", set.text().await.unwrap());

    let mut summarised = None;
    for number in 1..=12 {
        let run_id = say(&platform, &session, &long(number)).await;
        if summarised.is_none() {
            // Its first summary is under way when the role dies.
            let asked = || model.recorded().len();
            let is_summary = || {
                let last = model.recorded().last().map(|one| one.json());
                last.is_some_and(|body| body.to_string().contains("[user]"))
            };
            until("the model is called", || async { asked() >= number }).await;
            if is_summary() {
                platform.kill_and_restart("llm");
            }
        }
        let run = platform.ended(&run_id).await;
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(run["output"], "As you wish.", "{run}");
        let events = platform.events(&run_id).await;
        if let Some(summary) = summaries(&events).pop() {
            assert_eq!(summary["call"]["text"], SUMMARY);
            assert!(summary["messages"].as_u64().unwrap() > 1, "{summary}");
            // It was judged and held for like any other call of a model.
            let of = |kind: &str| {
                let kind = format!("nexus.run.{kind}.v1");
                events.iter().filter(|event| event["type"] == *kind).count()
            };
            assert!(of("reservation-granted") >= 2, "{events:?}");
            let calls = list(&json!({ "items": run["llm_calls"] }));
            assert_eq!(calls.len(), 1 + summaries(&events).len(), "{calls:?}");
            summarised.get_or_insert((number, run_id));
        }
    }
    let (first, _) = summarised.expect("twelve long messages outgrow 2,500 tokens");
    assert!(first > 2, "what fits is told whole");

    // The newest prompt has the summary and the newest words, and not the oldest.
    let prompt = model.recorded().last().unwrap().json();
    let told = prompt["messages"].to_string();
    assert!(
        told.contains(SUMMARY) && told.contains("Room number 12."),
        "{told}"
    );
    assert!(!told.contains("Room number 1."), "{told}");
    // Nothing that was said is gone.
    let (_, messages) = platform
        .get(&format!("/v1/sessions/{session}/messages?limit=100"))
        .await;
    assert!(
        messages.to_string().contains("Room number 1."),
        "{messages}"
    );

    // What the ledger charged is what the runs used, and nothing is held.
    let (_, runs) = platform
        .get(&format!("/v1/sessions/{session}/runs?limit=100"))
        .await;
    let used: u64 = list(&runs)
        .iter()
        .map(|run| run["cost"]["tokens"].as_u64().unwrap())
        .sum();
    until("all of it is settled", || async {
        let (_, budget) = platform.get("/v1/budgets/tenant").await;
        budget["reservations"].as_array().is_some_and(Vec::is_empty)
            && budget["windows"][0]["spent"]["tokens"].as_u64() == Some(used)
    })
    .await;
}
