//! Gateways as processes that die and stop: readers that move between them miss nothing and see nothing
//! twice, over server-sent events and WebSockets alike, and what was accepted is answered.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use support::{PATIENCE, Platform, free_port, until};

const RUNS: usize = 45;
const COMPLETED: &str = "nexus.run.completed.v1";

/// A gateway beside the platform's own.
struct Gateway {
    child: Child,
    base: String,
}

impl Gateway {
    async fn start(platform: &Platform) -> Self {
        let port = free_port();
        let child = platform
            .command(&["role", "gateway"])
            .env("NEXUS_LISTEN", format!("127.0.0.1:{port}"))
            .spawn()
            .expect("a gateway starts");
        let base = format!("http://127.0.0.1:{port}");
        let ready = format!("{base}/readyz");
        until("a second gateway is ready", || async {
            let answer = platform.http().get(&ready).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Self { child, base }
    }

    /// kill -9.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    fn stop(&self) {
        let id = self.child.id().to_string();
        let done = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until it has ended; gives its exit code.
    async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The records of one connection, as (id, type) pairs, and how it ended.
struct Told {
    records: Vec<(String, String)>,
    end: Option<String>,
}

/// Reads until `enough`, or until the connection ends.
async fn by_events(base: &str, path: &str, after: &str, enough: impl Fn(&str) -> bool) -> Told {
    let mut told = Told {
        records: vec![],
        end: None,
    };
    let http = reqwest::Client::new();
    let request = http
        .get(format!("{base}{path}"))
        .header("Accept", "text/event-stream");
    let request = match after {
        "" => request,
        after => request.header("Last-Event-ID", after),
    };
    let Ok(mut answer) = request.send().await else {
        return told;
    };
    if answer.status() != 200 {
        return told;
    }
    let mut text = String::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(id), Some(event)) = (field("id: "), field("event: ")) {
                told.records.push((id.to_owned(), event.to_owned()));
                if enough(event) {
                    return told;
                }
            }
            if field("event: ") == Some("closed") {
                told.end = field("data: ").map(str::to_owned);
            }
            text = rest.to_owned();
        }
    }
    told
}

/// The same over a WebSocket.
async fn by_socket(base: &str, path: &str, after: &str, enough: impl Fn(&str) -> bool) -> Told {
    let mut told = Told {
        records: vec![],
        end: None,
    };
    let base = base.replacen("http", "ws", 1);
    let joint = if path.contains('?') { '&' } else { '?' };
    let after = if after.is_empty() { "0" } else { after };
    let Ok((mut socket, _)) = connect_async(format!("{base}{path}{joint}after={after}")).await
    else {
        return told;
    };
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                let record: Value = serde_json::from_str(&text).unwrap();
                let event = record["event"].as_str().unwrap();
                if let Some(id) = record["id"].as_str() {
                    told.records.push((id.to_owned(), event.to_owned()));
                }
                if enough(event) {
                    return told;
                }
            }
            Message::Close(close) => told.end = close.map(|close| close.to_string()),
            _ => {}
        }
    }
    told
}

/// Reads until so many runs have completed, moving to the next gateway whenever a connection ends.
async fn follow(bases: Arc<Vec<String>>, path: String, socket: bool, wanted: usize) -> Vec<String> {
    let mut ids: Vec<String> = vec![];
    let mut completed = 0;
    let begun = Instant::now();
    for base in bases.iter().cycle() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{completed} of {wanted} runs were seen to complete"
        );
        let last = ids.last().cloned().unwrap_or_default();
        let (seen, found) = (completed, std::cell::Cell::new(0));
        let enough = |event: &str| {
            found.set(found.get() + usize::from(event == COMPLETED));
            seen + found.get() >= wanted
        };
        let reading = async {
            match socket {
                true => by_socket(base, &path, &last, enough).await,
                false => by_events(base, &path, &last, enough).await,
            }
        };
        let told = reading.await;
        completed += found.get();
        ids.extend(told.records.into_iter().map(|(id, _)| id));
        if completed >= wanted {
            return ids;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ids
}

async fn start(platform: &Platform, body: &Value) -> String {
    let (status, run) = platform.post("/v1/runs", body).await;
    assert_eq!(status, 202, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

/// Says a word each tenth of a second, for about two seconds.
fn slow_model() -> Options {
    let slow = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(20))
    };
    Options {
        script: Script {
            rules: vec![Rule {
                contains: Some("slowly please".to_owned()),
                reply: slow,
                ..Rule::default()
            }],
            ..Script::default()
        },
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_move_between_gateways_that_die_miss_nothing_and_see_nothing_twice() {
    let platform = Platform::start(slow_model()).await;
    let mut killed = Gateway::start(&platform).await;
    let mut stopped = Gateway::start(&platform).await;
    let bases = Arc::new(vec![
        killed.base.clone(),
        stopped.base.clone(),
        platform.url(""),
    ]);
    let session = platform.post("/v1/sessions", &json!({})).await.1["session_id"].clone();
    let watched = start(
        &platform,
        &json!({ "input": "slowly please", "session_id": session }),
    )
    .await;
    let paths = [
        ("/v1/events".to_owned(), RUNS + 1),
        (
            format!("/v1/sessions/{}/events", session.as_str().unwrap()),
            1,
        ),
        (format!("/v1/runs/{watched}/events"), 1),
    ];
    let mut readers = vec![];
    for (path, wanted) in &paths {
        for socket in [false, true] {
            let following = follow(Arc::clone(&bases), path.clone(), socket, *wanted);
            readers.push(following);
        }
    }
    let upheaval = async {
        for n in 0..RUNS {
            if n == RUNS / 3 {
                killed.kill();
            }
            if n == 2 * RUNS / 3 {
                stopped.stop();
            }
            let run = start(&platform, &json!({ "input": format!("number {n}") })).await;
            platform.ended(&run).await;
        }
    };
    let (read, ()) = tokio::join!(futures_util::future::join_all(readers), upheaval);
    assert_eq!(stopped.ended().await, Some(0));
    for ((path, wanted), found) in paths.iter().flat_map(|path| [path, path]).zip(&read) {
        let stays = Arc::new(vec![platform.url("")]);
        let whole = follow(stays, path.clone(), false, *wanted).await;
        assert!(whole.len() >= 5 * wanted, "{path}: {whole:?}");
        assert_eq!(found, &whole, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_answers_what_it_accepted() {
    let platform = Platform::start(slow_model()).await;
    let mut gateway = Gateway::start(&platform).await;
    let path = "/v1/events";
    let never = |_: &str| false;
    let ask = |path: &str, body: Value| {
        let request = platform.http().post(format!("{}{path}", gateway.base));
        tokio::spawn(request.json(&body).send())
    };
    let waits = ask("/v1/runs?wait=60s", json!({ "input": "slowly please" }));
    let messages = json!([{ "role": "user", "content": "slowly please" }]);
    let completes = ask(
        "/v1/chat/completions",
        json!({ "model": "test-model", "messages": messages }),
    );
    until("the model is asked for both", || async {
        platform.model.recorded().len() >= 2
    })
    .await;
    let streams = async {
        tokio::join!(
            by_events(&gateway.base, path, "", never),
            by_socket(&gateway.base, path, "", never)
        )
    };
    let stop = async {
        // Both have heard something: they are open.
        until("two listen", || async {
            let metrics = platform
                .http()
                .get(format!("{}/metrics", gateway.base))
                .send()
                .await;
            let metrics = metrics.unwrap().text().await.unwrap();
            metrics
                .lines()
                .any(|line| line == "nexus_gateway_event_streams 2")
        })
        .await;
        gateway.stop();
    };
    let ((events, socket), ()) = tokio::join!(streams, stop);
    let end: Value = serde_json::from_str(&events.end.expect("a reason")).unwrap();
    assert_eq!(end["reason"], "stopping");
    assert_eq!(socket.end.as_deref(), Some("stopping (1001)"));
    // Whoever waits is told how far it is, whoever wants words gets all of them.
    let answer = waits.await.unwrap().unwrap();
    assert_eq!(answer.status(), 202);
    let waited: Value = answer.json().await.unwrap();
    let answer = completes.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let completion: Value = answer.json().await.unwrap();
    let said = completion["choices"][0]["message"]["content"]
        .as_str()
        .unwrap();
    assert_eq!(said.trim(), "word ".repeat(20).trim());
    assert_eq!(gateway.ended().await, Some(0));
    let run = platform.ended(waited["id"].as_str().unwrap()).await;
    assert_eq!(run["status"], "completed", "{run}");
    // Whoever was told goes on elsewhere from where it was.
    let last = &socket.records.last().unwrap().0;
    let rest = by_socket(&platform.url(""), path, last, |event| event == COMPLETED).await;
    assert_eq!(rest.records.last().unwrap().1, COMPLETED);
}
