//! The official Python client of Anthropic, unmodified, against the platform as it is started. The
//! cases are in `anthropic/client.py`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

#[path = "support/python.rs"]
mod python;
mod support;

use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::json;

use python::{Client, interpreter};
use support::{Platform, list, until};

/// Says four hundred words, one in a tenth of a second, to whoever asks for it.
fn model() -> Options {
    let slow = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(400))
    };
    let rules = vec![Rule {
        contains: Some("slowly please".to_owned()),
        reply: slow,
        ..Rule::default()
    }];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_works_unmodified() {
    let Some(python) = interpreter("anthropic") else {
        return;
    };
    let platform = Platform::start(model()).await;
    let client = Client {
        python,
        platform: &platform,
        script: "anthropic/client.py",
    };

    let run = platform.ended(&client.case("plain").await).await;
    assert_eq!(run["input"], "hello there");
    assert_eq!(run["metadata"], json!({ "user": "u1" }));
    assert_eq!(run["user_id"], "ada");

    for case in ["conversation", "stream", "tools", "streamed_tools"] {
        client.case(case).await;
    }

    let put = platform.http().put(platform.url("/v1/budgets/user/poor"));
    let limits = json!({ "limits": { "tokens": 5 } });
    let done = put.json(&limits).send().await.unwrap();
    assert!(done.status().is_success(), "{}", done.text().await.unwrap());
    let refused = platform.ended(&client.case("errors").await).await;
    assert_eq!(refused["error_code"], "budget_exhausted", "{refused}");

    let left = platform.ended(&client.case("closes").await).await;
    assert_eq!(left["status"], "cancelled", "{left}");
    until("all is settled", || async {
        let (status, held) = platform.get("/v1/reservations?status=held").await;
        status == 200 && list(&held).is_empty()
    })
    .await;
}
