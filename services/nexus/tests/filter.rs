//! The content filter against a platform of separate processes: what it leaves out of an answer is
//! nowhere, what it refuses never reaches the model, and each tenant has its own rules.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

mod support;

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, until};

const KEY: &str = "sk-proj-0123456789abcdefghijklmnopqrstuv";
const CONFIG: &str = r#"
[models.filter]
input = { card = "refuse", email = "redact" }
output = { secret = "redact" }
deny = ["bluebird"]
[models.filter.tenants.strict]
output = { secret = "refuse" }
[models.filter.tenants.lax]
input = { card = "off" }
output = { secret = "mark" }
"#;

async fn platform(script: Script) -> Platform {
    let options = Options {
        script,
        ..Options::default()
    };
    Platform::configured(options, CONFIG).await
}

/// A run that has ended, with its model calls, as the read models have it.
async fn run(platform: &Platform, tenant: &str, input: &str) -> Value {
    let http = platform.http();
    let request = http
        .post(platform.url("/v1/runs"))
        .header("nexus-tenant", tenant);
    let answer = request.json(&json!({ "input": input })).send().await;
    let started: Value = answer.unwrap().json().await.unwrap();
    let id = started["run_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{started}"));
    let url = platform.url(&format!("/v1/runs/{id}"));
    let ended = Mutex::new(Value::Null);
    until("the run has ended", || async {
        let answer = http.get(&url).header("nexus-tenant", tenant).send().await;
        let run: Value = answer.unwrap().json().await.unwrap_or_default();
        let done = matches!(run["status"].as_str(), Some("completed" | "failed"))
            && run["llm_calls"][0].is_object();
        *ended.lock().unwrap() = run;
        done
    })
    .await;
    ended.into_inner().unwrap()
}

/// Every row of every table.
async fn tables(platform: &Platform) -> String {
    let pool = sqlx::PgPool::connect(&platform.database_url).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(!names.is_empty());
    let mut all = String::new();
    for name in names {
        let query = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {name} t"));
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&pool).await.unwrap();
        all.push_str(&rows.concat());
    }
    all
}

async fn events(platform: &Platform, tenant: &str, run: &Value) -> String {
    let id = run["id"].as_str().unwrap_or_else(|| panic!("{run}"));
    let url = platform.url(&format!("/v1/runs/{id}/events?limit=200"));
    let answer = platform
        .http()
        .get(url)
        .header("nexus-tenant", tenant)
        .send()
        .await;
    answer.unwrap().text().await.unwrap()
}

/// Everything that is heard on the bus, the log and the live streams of all tenants.
async fn ears(platform: &Platform) -> Arc<Mutex<String>> {
    let client = async_nats::connect(platform.stack.nats.url())
        .await
        .unwrap();
    let heard: Arc<Mutex<String>> = Arc::default();
    for subject in ["nexus.*.live.>", "nexus.*.log.>", "nexus.*.evt.>"] {
        let mut messages = client.subscribe(subject).await.unwrap();
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                heard.lock().unwrap().push_str(&text);
            }
        });
    }
    client.flush().await.unwrap();
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_an_answer_is_nowhere() {
    let call = ScriptedCall::new("calculator", &json!({ "expression": format!("'{KEY}'") }));
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply {
                chunks: Some(60),
                ..Reply::text(format!("The key is {KEY}, for Bluebird. Keep it."))
            },
            ..Rule::default()
        },
        Rule {
            reply: Reply::tools([call]),
            ..Rule::default()
        },
    ];
    let platform = platform(Script {
        rules,
        ..Script::default()
    })
    .await;
    let heard = ears(&platform).await;
    let done = run(
        &platform,
        "default",
        "what is the key of anna@example.test?",
    )
    .await;
    assert_eq!(done["status"], "completed", "{done}");
    let said = "The key is [redacted:secret], for [redacted:denied]. Keep it.";
    assert!(done.to_string().contains(said), "{done}");
    let log = events(&platform, "default", &done).await;
    assert!(
        log.contains("anna@example.test"),
        "the log keeps what the user said: {log}"
    );
    assert!(
        log.contains("'[redacted:secret]'"),
        "arguments of tools are filtered: {log}"
    );
    let call = &done["llm_calls"][1];
    let found = json!([
        { "direction": "input", "class": "email", "action": "redact", "count": 1 },
        { "direction": "output", "class": "secret", "action": "redact", "count": 1 },
        { "direction": "output", "class": "denied", "action": "redact", "count": 1 },
    ]);
    assert_eq!(call["findings"], found, "{done}");
    until("the end of the answer was heard", || async {
        let heard = heard.lock().unwrap();
        heard.contains("Keep it.") || heard.contains("it.")
    })
    .await;
    // The pieces that listeners put together, and all that was stored.
    let all = heard.lock().unwrap().clone();
    let pieces: String = (all.split("\"text\":\"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for text in [&all, &pieces, &done.to_string(), &log] {
        assert!(
            !text.contains(&KEY[3..]) && !text.contains("0123456789abcdef"),
            "{text}"
        );
        assert!(!text.contains("Bluebird"), "{text}");
    }
    let tables = tables(&platform).await;
    assert!(tables.contains("[redacted:secret]") && !tables.contains("0123456789abcdef"));
    let asked = platform.model.recorded();
    assert!(
        asked
            .iter()
            .all(|call| !String::from_utf8_lossy(&call.body).contains("anna@"))
    );
    assert!(String::from_utf8_lossy(&asked[0].body).contains("[redacted:email]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_never_reaches_the_model() {
    let platform = platform(Script::default()).await;
    let input = "charge 4111 1111 1111 1111";
    let done = run(&platform, "default", input).await;
    assert_eq!(done["status"], "failed", "{done}");
    let call = &done["llm_calls"][0];
    assert_eq!(call["error_code"], "content_refused", "{done}");
    let message = "the content filter refuses card in what the user said, message 2 of 2";
    assert_eq!(call["error_message"], message);
    assert_eq!(
        (&call["input_tokens"], &call["cost_usd_micros"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(call["findings"][0]["action"], "refuse");
    assert_eq!(platform.model.counters().calls, 0);
    // Another tenant's rules let it pass.
    let done = run(&platform, "lax", input).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(platform.model.counters().calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_own_rules() {
    let reply = Reply {
        chunk_delay_ms: 20,
        ..Reply::text(format!("It is {KEY} {}", "and so on ".repeat(200)))
    };
    let rules = vec![Rule {
        reply,
        ..Rule::default()
    }];
    let platform = platform(Script {
        rules,
        ..Script::default()
    })
    .await;
    let heard = ears(&platform).await;
    let done = run(&platform, "strict", "which key?").await;
    assert_eq!(done["status"], "failed", "{done}");
    let call = &done["llm_calls"][0];
    assert_eq!(call["error_code"], "content_refused");
    assert!(
        call["output_tokens"].as_u64() > Some(0),
        "what was generated is charged: {done}"
    );
    until("listeners are told", || async {
        heard.lock().unwrap().contains("content_refused")
    })
    .await;
    assert!(!heard.lock().unwrap().contains("0123456789abcdef"));
    until("the call was broken off", || async {
        platform.model.counters().abandoned == 1
    })
    .await;

    let done = run(&platform, "lax", "which key?").await;
    assert_eq!(done["status"], "completed");
    assert!(done.to_string().contains(KEY), "it is only marked");
    assert_eq!(done["llm_calls"][0]["findings"][0]["action"], "mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_may_want_more_than_the_installation() {
    let rules = vec![Rule {
        reply: Reply::text("mail anna@example.test"),
        ..Rule::default()
    }];
    let platform = platform(Script {
        rules,
        ..Script::default()
    })
    .await;
    let bundle = "package nexus.agent.policy\nimport rego.v1\ndefault allow := true\n\
        obligations := {\"filter\": {\"output\": {\"email\": \"redact\"}}} if {\n\
        input.point == \"run.start\"\n}\n";
    std::fs::write(platform.stack.dir().join("filter.rego"), bundle).unwrap();
    let published = platform.json(&["policies", "publish", "filter.rego", "--json"]);
    let digest = published["digest"]
        .as_str()
        .unwrap_or_else(|| panic!("{published}"));
    platform.json(&["policies", "activate", digest, "--json"]);
    until("it is obeyed", || async {
        let done = run(&platform, "default", "how do I reach Anna?").await;
        done.to_string().contains("mail [redacted:email]")
    })
    .await;
}
