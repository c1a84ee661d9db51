//! Budgets that cannot be overspent, with real processes that die: what fits goes through to the last
//! token, what does not is refused, waits its turn, or is granted by a person, and time runs out even
//! where nobody works.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use nexus_modelserver::{Fault, Options, Reply, Rule, Script, UsageReport, WireTokens};
use serde_json::{Value, json};

use support::{PATIENCE, Platform, until};

/// How many calls the budget fits.
const FITS: u64 = 1_000;
const CLIENTS: usize = 64;
/// More runs than fit.
const RUNS: usize = 1_088;

/// One more process with these roles, gone with the test.
struct Process(Child);

impl Process {
    fn start(platform: &Platform, roles: &[&str]) -> Self {
        let arguments: Vec<&str> = std::iter::once("role")
            .chain(roles.iter().copied())
            .collect();
        Self(platform.command(&arguments).spawn().unwrap())
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn model(rules: Vec<Rule>, otherwise: Reply) -> Options {
    let last = Rule {
        reply: otherwise,
        ..Rule::default()
    };
    Options {
        script: Script {
            rules: rules.into_iter().chain([last]).collect(),
            ..Script::default()
        },
        ..Options::default()
    }
}

/// What a run that is to spend exactly what it reserves reserves: prompt and answer.
async fn reserved_by_one(platform: &Platform, tenant: &str) -> (u64, u64) {
    let request = platform.http().post(platform.url("/v1/runs?wait=30s"));
    let request = request.header("Nexus-Tenant", tenant);
    let run: Value = request
        .json(&hello())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let path = format!("/v1/runs/{}/events?limit=200", run["id"].as_str().unwrap());
    let request = platform.http().get(platform.url(&path));
    let request = request.header("Nexus-Tenant", tenant);
    let events: Value = request.send().await.unwrap().json().await.unwrap();
    let granted = support::list(&events)
        .into_iter()
        .find(|event| event["type"] == "nexus.run.reservation-granted.v1")
        .unwrap();
    let data = &granted["data"];
    let answer = data["max_output_tokens"].as_u64().unwrap();
    (data["amounts"]["tokens"].as_u64().unwrap() - answer, answer)
}

fn hello() -> Value {
    json!({ "input": "hello", "tools": [] })
}

async fn put(platform: &Platform, path: &str, body: &Value) -> Value {
    let request = platform.http().put(platform.url(path)).json(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert!((200..300).contains(&status), "{status} {body}");
    body
}

async fn tenant_account(platform: &Platform) -> (Value, Vec<Value>) {
    let (status, budget) = platform.get("/v1/budgets/tenant").await;
    assert_eq!(status, 200, "{budget}");
    let held = budget["reservations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    (budget["windows"][0].clone(), held)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_budget_that_fits_a_thousand_calls_a_thousand_go_through() {
    let spends_all = |input, output| Reply {
        usage: UsageReport::Lie(WireTokens {
            input,
            output,
            ..WireTokens::default()
        }),
        ..Reply::text("done")
    };
    let mut platform = Platform::start(model(vec![], spends_all(1, 1))).await;
    let (prompt, answer) = reserved_by_one(&platform, "probe").await;
    let one = prompt + answer;
    platform
        .model
        .set_script(model(vec![], spends_all(prompt, answer)).script);
    let limits = json!({ "limits": { "tokens": FITS * one } });
    put(&platform, "/v1/budgets/tenant", &limits).await;
    let workers = ["run", "budget", "policy", "tools", "llm"];
    let mut others: Vec<Process> = (0..3)
        .map(|_| Process::start(&platform, &workers))
        .collect();

    let left = AtomicUsize::new(RUNS);
    let (completed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let client = async || {
        while left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
        {
            let (status, run) = platform.post("/v1/runs", &hello()).await;
            assert_eq!(status, 202, "{run}");
            let run = platform.ended(run["run_id"].as_str().unwrap()).await;
            match run["status"].as_str().unwrap() {
                "completed" => completed.fetch_add(1, Ordering::SeqCst),
                _ => {
                    // Where the tables lag behind, the run is read from the log.
                    let events = platform.events(run["id"].as_str().unwrap()).await;
                    let last = events.last().unwrap();
                    assert_eq!(last["data"]["code"], "budget_exhausted", "{run}");
                    refused.fetch_add(1, Ordering::SeqCst)
                }
            };
        }
    };
    let clients = join_all((0..CLIENTS).map(|_| client()));
    let killer = async {
        let mut next = 0;
        while !over.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            if let Some(process) = others.get_mut(next % 3) {
                process.kill();
                *process = Process::start(&platform, &workers);
            }
            next += 1;
        }
        next
    };
    let race = async {
        clients.await;
        over.store(true, Ordering::SeqCst);
    };
    let (kills, ()) = tokio::join!(killer, race);
    assert!(kills > 1, "nobody was killed");
    drop(others);
    platform.kill_and_restart("budget");

    assert_eq!(completed.load(Ordering::SeqCst) as u64, FITS);
    assert_eq!(refused.load(Ordering::SeqCst), RUNS - FITS as usize);
    until("nothing stays reserved and all is spent", || async {
        let (account, held) = tenant_account(&platform).await;
        held.is_empty()
            && account["reserved"]["tokens"] == 0
            && account["spent"]["tokens"] == FITS * one
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_wait_their_turn_when_two_may_be_in_flight() {
    let slow = Reply {
        first_byte_delay_ms: 150,
        ..Reply::text("done")
    };
    let mut platform = Platform::start(model(vec![], slow)).await;
    let limits = json!({ "limits": { "runs": 2 }, "on_exhausted": "park" });
    put(&platform, "/v1/budgets/tenant", &limits).await;
    let mut runs = vec![];
    for _ in 0..10 {
        let (status, run) = platform.post("/v1/runs", &hello()).await;
        assert_eq!(status, 202, "{run}");
        runs.push(run["run_id"].as_str().unwrap().to_owned());
    }
    until("some wait", || async {
        let (_, runs) = platform.get("/v1/runs?status=waiting").await;
        !support::list(&runs).is_empty()
    })
    .await;
    // Whoever was to wake them dies.
    platform.kill_and_restart("budget");
    for run in &runs {
        let ended = platform.ended(run).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    }
    let mut spans = vec![];
    for run in &runs {
        let events = platform.events(run).await;
        let granted = events
            .iter()
            .find(|event| event["type"] == "nexus.run.reservation-granted.v1");
        let seq = |event: &Value| event["seq"].as_u64().unwrap();
        spans.push((seq(granted.unwrap()), seq(events.last().unwrap())));
    }
    for (granted, _) in &spans {
        let at_once = spans
            .iter()
            .filter(|(from, to)| (from..=to).contains(&granted));
        assert!(
            at_once.count() <= 2,
            "more than two were in flight: {spans:?}"
        );
    }
    until("no run is in flight", || async {
        let (account, held) = tenant_account(&platform).await;
        held.is_empty() && account["reserved"]["runs"].as_u64().unwrap_or(0) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_grants_more_or_refuses() {
    let mut platform = Platform::start(model(vec![], Reply::text("done"))).await;
    let limits = json!({ "limits": { "tokens": 10 }, "on_exhausted": "approve" });
    put(&platform, "/v1/budgets/user/local", &limits).await;
    let mut waiting = vec![];
    for _ in 0..2 {
        let (_, run) = platform.post("/v1/runs", &hello()).await;
        let run_id = run["run_id"].as_str().unwrap().to_owned();
        until("it waits for a person", || async {
            let (_, run) = platform.get(&format!("/v1/runs/{run_id}")).await;
            run["status"] == "waiting"
        })
        .await;
        let events = platform.events(&run_id).await;
        let parked = events
            .iter()
            .find(|event| event["type"] == "nexus.run.parked.v1");
        let id = parked.unwrap()["data"]["reservation_id"]
            .as_str()
            .unwrap()
            .to_owned();
        waiting.push((run_id, id));
    }
    platform.kill_and_restart("budget");
    platform.kill_and_restart("run");
    let [(granted, grant), (refused, refuse)] = waiting.as_slice() else {
        return;
    };
    for _ in 0..2 {
        let (status, body) = platform
            .post(&format!("/v1/reservations/{grant}/grant"), &json!({}))
            .await;
        assert!(
            (200..300).contains(&status) || status == 404,
            "{status} {body}"
        );
    }
    assert_eq!(platform.ended(granted).await["status"], "completed");
    let reason = json!({ "reason": "not this month" });
    let (status, body) = platform
        .post(&format!("/v1/reservations/{refuse}/refuse"), &reason)
        .await;
    assert!((200..300).contains(&status), "{status} {body}");
    let run = platform.ended(refused).await;
    assert_eq!(run["error_code"], "budget_exhausted", "{run}");
    assert!(run.to_string().contains("not this month"), "{run}");
    let (status, body) = platform
        .post(&format!("/v1/reservations/{refuse}/grant"), &json!({}))
        .await;
    assert_eq!(status, 404, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_runs_out_in_a_model_that_hangs_and_where_nobody_calls_it() {
    let hangs = Rule {
        contains: Some("hang".to_owned()),
        reply: Reply::fault(Fault::Hang),
        ..Rule::default()
    };
    let mut platform = Platform::start(model(vec![hangs], Reply::text("done"))).await;
    let start = async |platform: &Platform, input: &str| {
        let budget = json!({ "time_seconds": 2 });
        let body = json!({ "input": input, "tools": [], "budget": budget });
        let (status, run) = platform.post("/v1/runs", &body).await;
        assert_eq!(status, 202, "{run}");
        run["run_id"].as_str().unwrap().to_owned()
    };
    let hung = start(&platform, "hang on").await;
    let run = platform.ended(&hung).await;
    assert_eq!(run["error_code"], "time_exhausted", "{run}");
    platform.stop_role("llm");
    let alone = start(&platform, "hello").await;
    let run = platform.ended(&alone).await;
    assert_eq!(run["error_code"], "time_exhausted", "{run}");
    // Whoever comes back finds the run ended, and gives back what was held.
    platform.start_role("llm");
    until("nothing stays reserved", || async {
        tenant_account(&platform).await.1.is_empty()
    })
    .await;
    assert!(PATIENCE > Duration::from_secs(30));
}
