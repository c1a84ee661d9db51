//! Model calls that fail, with real processes and three model servers: another endpoint answers, the
//! final message is one, what was used is charged, and nothing is spent that was not reserved.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

mod support;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexus_modelserver::{Fault, ModelServer, Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{PATIENCE, Platform, until};

/// Two servers beside the platform's own, as the providers `a` and `b`.
struct Stand {
    platform: Platform,
    a: ModelServer,
    b: ModelServer,
}

/// What a server answers to calls of a model: so often, or always.
fn rule(model: &str, times: Option<u32>, reply: Reply) -> Rule {
    Rule {
        model: Some(model.to_owned()),
        times,
        reply,
        ..Rule::default()
    }
}

fn status(status: u16, retry_after_s: Option<u64>) -> Reply {
    Reply::fault(Fault::Status {
        status,
        retry_after_s,
        code: None,
        message: None,
    })
}

fn script(rules: Vec<Rule>) -> Script {
    Script {
        rules,
        ..Script::default()
    }
}

fn provider(name: &str, server: &ModelServer, models: &[&str]) -> String {
    let mut text = format!(
        "[[models.providers]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{}\"\n",
        server.base_url()
    );
    for model in models {
        // Shorter than any prompt: what is left after a cut call is no call.
        let most = if *model == "short" { 64 } else { 4096 };
        text.push_str(&format!(
            "[[models.providers.models]]\nname = \"{model}\"\nmax_output_tokens = {most}\n"
        ));
    }
    text
}

impl Stand {
    async fn start(
        a: Vec<Rule>,
        models_of_a: &[&str],
        b: Vec<Rule>,
        models_of_b: &[&str],
        more: &str,
    ) -> Self {
        let of = |rules| Options {
            script: script(rules),
            ..Options::default()
        };
        let a = ModelServer::start(of(a)).await.unwrap();
        let b = ModelServer::start(of(b)).await.unwrap();
        let configuration = format!(
            "{more}\n{}{}",
            provider("a", &a, models_of_a),
            provider("b", &b, models_of_b)
        );
        let platform = Platform::configured(Options::default(), &configuration).await;
        Self { platform, a, b }
    }

    /// Starts a run of a model and waits for its end.
    async fn run(&self, body: Value) -> Run {
        let (status, started) = self.platform.post("/v1/runs", &body).await;
        assert_eq!(status, 202, "{started}");
        let id = started["run_id"].as_str().unwrap().to_owned();
        let row = self.platform.ended(&id).await;
        let events = self.platform.events(&id).await;
        Run { id, row, events }
    }

    /// What the ledger spent for the tenant, once nothing is held.
    async fn spent(&self) -> u64 {
        let account = async || {
            let (status, budget) = self.platform.get("/v1/budgets/tenant").await;
            assert_eq!(status, 200, "{budget}");
            budget["windows"][0].clone()
        };
        until("nothing is held", || async {
            account().await["reserved"]["tokens"] == 0
        })
        .await;
        account().await["spent"]["tokens"].as_u64().unwrap()
    }

    async fn limit_tenant(&self, tokens: u64) {
        let body = json!({ "limits": { "tokens": tokens } });
        let url = self.platform.url("/v1/budgets/tenant");
        let answer = self.platform.http().put(url).json(&body).send().await;
        assert!(answer.unwrap().status().is_success());
    }
}

struct Run {
    id: String,
    row: Value,
    events: Vec<Value>,
}

impl Run {
    /// The data of its events of a type.
    fn all(&self, name: &str) -> Vec<&Value> {
        let name = format!("nexus.run.{name}.v1");
        (self.events.iter())
            .filter(|event| event["type"] == name.as_str())
            .map(|event| &event["data"])
            .collect()
    }

    fn one(&self, name: &str) -> &Value {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {:#?}", self.events);
        all[0]
    }

    /// What all of its model calls are charged.
    fn charged(&self) -> u64 {
        let calls = [self.all("llm-completed"), self.all("llm-failed")].concat();
        calls.into_iter().map(|call| tokens(&call["usage"])).sum()
    }

    /// The largest prompt that was reserved for.
    fn prompt(&self) -> u64 {
        let grant = self.all("reservation-granted")[0];
        grant["amounts"]["tokens"].as_u64().unwrap() - grant["max_output_tokens"].as_u64().unwrap()
    }
}

fn tokens(usage: &Value) -> u64 {
    usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap()
}

fn said(server: &ModelServer) -> u64 {
    let counters = server.counters();
    counters.input_tokens + counters.output_tokens
}

/// Hears until the text after a restart is this; gives the text before it.
async fn hear(live: &mut async_nats::Subscriber, whole: &str) -> String {
    let (mut void, mut text) = (String::new(), None);
    while text.as_deref() != Some(whole) {
        let message = tokio::time::timeout(PATIENCE, live.next()).await;
        let message: Value = serde_json::from_slice(&message.unwrap().unwrap().payload).unwrap();
        match (message["type"].as_str().unwrap(), &mut text) {
            ("restart", text @ None) => {
                assert_eq!(message["reason"], "provider_truncated");
                *text = Some(String::new());
            }
            ("text", None) => void.push_str(message["text"].as_str().unwrap()),
            ("text", Some(text)) => text.push_str(message["text"].as_str().unwrap()),
            other => panic!("{other:?}"),
        }
    }
    void
}

fn asks(model: &str) -> Value {
    json!({ "input": "hello", "tools": [], "model": model })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_goes_on_elsewhere_and_both_are_charged() {
    let cut = || Reply {
        fault: Some(Fault::CutAfter(4)),
        ..Reply::text("this part is void and never ends")
    };
    let rules_a = vec![
        rule("cut", None, cut()),
        rule("tight", None, cut()),
        rule("short", None, cut()),
        rule("limited", Some(1), status(429, Some(2))),
        rule("limited", None, Reply::text("at last")),
    ];
    let rules_b = vec![
        rule("cut", None, Reply::text("the answer is whole")),
        rule("tight", None, Reply::text("never asked")),
        rule("short", None, Reply::text("short and whole")),
    ];
    let (of_a, of_b) = (
        ["cut", "tight", "short", "limited"],
        ["cut", "tight", "short"],
    );
    let stand = Stand::start(rules_a, &of_a, rules_b, &of_b, "").await;
    let client = async_nats::connect(stand.platform.stack.nats.url())
        .await
        .unwrap();
    let mut live = client.subscribe("nexus.default.live.run.*").await.unwrap();
    client.flush().await.unwrap();
    // A word of the connection itself: the subscription is there when it has come back.
    let mut echo = client.subscribe("test.echo").await.unwrap();
    client.publish("test.echo", "".into()).await.unwrap();
    echo.next().await.unwrap();
    stand.limit_tenant(1_000_000).await;

    let run = stand.run(asks("cut")).await;
    assert_eq!(run.row["status"], "completed", "{}", run.row);
    assert_eq!(run.row["output"], "the answer is whole");
    let done = run.one("llm-completed");
    assert_eq!(done["provider"], "b");
    let routing = &done["routing"];
    assert_eq!(routing["endpoint"], "b");
    let outcomes: Vec<_> = (routing["attempts"].as_array().unwrap().iter())
        .map(|one| {
            (
                one["endpoint"].as_str().unwrap(),
                one["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(outcomes, [("a", "provider_truncated"), ("b", "answered")]);
    // Charged is at least what both say they sent, and never more than was held.
    let servers = said(&stand.a) + said(&stand.b);
    assert!(servers <= run.charged(), "{servers} of {}", run.charged());
    let held: u64 = (run.all("reservation-granted").iter())
        .map(|grant| grant["amounts"]["tokens"].as_u64().unwrap())
        .sum();
    assert!(run.charged() <= held);
    assert_eq!(stand.spent().await, run.charged());
    // Who listens is told that the first part is void, before the second comes.
    assert_eq!(
        hear(&mut live, "the answer is whole").await,
        "this part is "
    );

    // Where the rest is no call, the ledger is asked anew, and the turn goes on elsewhere.
    let before = run.charged();
    let run = stand.run(asks("short")).await;
    assert_eq!(run.row["output"], "short and whole", "{}", run.row);
    assert_eq!(run.one("llm-failed")["again"], "same_model");
    assert_eq!(run.one("llm-completed")["provider"], "b");
    let grants = run.all("reservation-granted");
    assert_eq!(grants.len(), 2);
    for (grant, name) in grants.iter().zip(["llm-failed", "llm-completed"]) {
        let held = grant["amounts"]["tokens"].as_u64().unwrap();
        assert!(tokens(&run.one(name)["usage"]) <= held, "{name} of {held}");
    }
    assert_eq!(stand.spent().await, before + run.charged());
    assert_eq!(hear(&mut live, "short and whole").await, "this part is ");

    // A budget for exactly one call, and a call that is cut: the rest is no call.
    let before = stand.b.counters().calls;
    let budget = run.prompt() + 40;
    let tight = stand
        .run(json!({ "input": "hello", "tools": [], "model": "tight", "budget": { "tokens": budget } }))
        .await;
    assert_eq!(tight.row["status"], "failed", "{}", tight.row);
    let failed = tight.events.last().unwrap();
    assert_eq!(failed["data"]["code"], "budget_exhausted", "{failed}");
    assert_eq!(tight.one("llm-failed")["again"], "same_model");
    assert!(tight.charged() <= budget, "{} of {budget}", tight.charged());
    assert_eq!(stand.b.counters().calls, before, "nobody was asked again");
    let calls = tight.row["llm_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{}", tight.id);

    // Whoever is asked to wait waits, and so do the others.
    let began = Instant::now();
    let refused = async {
        let run = stand.run(asks("limited")).await;
        (run, began.elapsed())
    };
    let other = async {
        let refusals = |counters: &nexus_modelserver::Counters| counters.refused > 0;
        assert!(stand.a.wait_until(PATIENCE, refusals).await);
        (stand.run(asks("limited")).await, began.elapsed())
    };
    for (run, took) in <[_; 2]>::from(tokio::join!(refused, other)) {
        assert_eq!(run.row["output"], "at last", "{}", run.row);
        assert!(took >= Duration::from_secs(2), "{took:?}");
    }
    let asked = |one: &nexus_modelserver::Recorded| one.json()["model"] == "limited";
    assert_eq!(
        stand.a.recorded().iter().filter(|one| asked(one)).count(),
        3
    );
}

/// Each failed call is charged with its whole prompt, since nobody knows better, and leaves no room for
/// another within its reservation: the next is reserved for anew, and waits all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_for_a_moment_is_given_that_moment() {
    let cut = Reply::fault(Fault::CutAfterBytes(0));
    let rules = vec![
        rule("short", Some(3), cut),
        rule("short", None, Reply::text("well again")),
    ];
    let stand = Stand::start(rules, &["short"], vec![], &["other"], "").await;
    let began = Instant::now();
    let run = stand.run(asks("short")).await;
    assert_eq!(run.row["output"], "well again", "{}", run.row);
    assert_eq!(run.all("llm-failed").len(), 3, "{:#?}", run.events);
    // Half of 250 ms, of 1 s and of 4 s at least.
    assert!(
        began.elapsed() > Duration::from_millis(2_600),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_is_left_alone_and_comes_back() {
    let more = "[models.breaker]\nfailures = 5\npause_ms = 4000\n\
        [models.routes.hedged]\nhedge_after_ms = 150\n";
    let slow = Reply {
        first_byte_delay_ms: 60_000,
        ..Reply::text("too late")
    };
    let rules_a = vec![
        rule("dead", None, status(503, None)),
        rule("hedged", None, slow),
    ];
    let rules_b = vec![
        rule("dead", None, Reply::text("alive")),
        rule("hedged", None, Reply::text("in time")),
    ];
    let both = ["dead", "hedged"];
    let stand = Stand::start(rules_a, &both, rules_b, &both, more).await;

    // The slow one is stopped, and both prompts are charged.
    let began = Instant::now();
    let run = stand.run(asks("hedged")).await;
    assert_eq!(run.row["output"], "in time", "{}", run.row);
    assert!(began.elapsed() < Duration::from_secs(30));
    let done = run.one("llm-completed");
    let attempts = done["routing"]["attempts"].as_array().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["outrun", "answered"]);
    assert_eq!(attempts[1]["hedge"], true);
    assert!(attempts[0]["usage"]["input_tokens"].as_u64() > Some(0));
    let held = run.one("reservation-granted")["amounts"]["tokens"].as_u64();
    assert!(Some(run.charged()) <= held, "{} of {held:?}", run.charged());
    let gone = |counters: &nexus_modelserver::Counters| counters.abandoned == 1;
    assert!(stand.a.wait_until(PATIENCE, gone).await);

    let asked = || stand.a.counters().refused;
    let (mut skipped, began) = (vec![], Instant::now());
    for _ in 0..50 {
        let run = stand.run(asks("dead")).await;
        assert_eq!(run.row["output"], "alive", "{}", run.row);
        // None where the call was the probe.
        let routing = &run.one("llm-completed")["routing"];
        skipped.extend(routing["skipped"].get(0).cloned());
    }
    // Five open it, and then there is a probe now and then.
    let most = 5 + began.elapsed().as_secs() / 4;
    assert!((5..=most).contains(&asked()), "{} of {most}", asked());
    let skipped = skipped.first().unwrap();
    assert_eq!(skipped["endpoint"], "a", "{skipped}");
    assert!(
        skipped["reason"]
            .as_str()
            .unwrap()
            .contains("failed too often")
    );

    // It answers again: the next probe closes the breaker.
    let well = rule("dead", None, Reply::text("alive"));
    stand.a.set_script(script(vec![well]));
    until("it is called again", || async {
        let run = stand.run(asks("dead")).await;
        run.one("llm-completed")["provider"] == "a"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_with_its_next_model_if_policy_lets_it() {
    let more = "[agents.default]\nmodels = [\"first\", \"second\"]\n";
    let rules_a = vec![rule("first", None, status(503, None))];
    let rules_b = vec![rule("second", None, Reply::text("the second speaks"))];
    let stand = Stand::start(rules_a, &["first"], rules_b, &["second"], more).await;
    let hello = || json!({ "input": "hello", "tools": [] });

    let run = stand.run(hello()).await;
    assert_eq!(run.row["output"], "the second speaks", "{}", run.row);
    let failed = run.one("llm-failed");
    assert_eq!(failed["again"], json!({ "next_model": "second" }));
    let switched = run.one("model-switched");
    let expected = json!({ "turn": 1, "from": "first", "to": "second", "reason": failed["code"] });
    assert_eq!(*switched, expected);
    let judged = run.all("policy-decided");
    let calls = judged.iter().filter(|one| one["point"]["at"] == "llm.call");
    assert_eq!(calls.count(), 2, "each model is judged");
    let grants = run.all("reservation-granted");
    assert_eq!(grants.len(), 2, "and reserved for");
    assert_ne!(grants[0]["reservation_id"], grants[1]["reservation_id"]);
    until("both calls are in the tables", || async {
        let (_, row) = stand.platform.get(&format!("/v1/runs/{}", run.id)).await;
        let calls = row["llm_calls"].as_array().unwrap();
        let status: Vec<_> = calls.iter().map(|call| &call["status"]).collect();
        status == ["failed", "completed"]
    })
    .await;

    let denies = "package nexus.agent.policy\nimport rego.v1\ndefault allow := false\n\
        allow if input.model != \"second\"\n\
        allow if input.point == \"run.start\"\n";
    let path = stand.platform.stack.dir().join("no_second.rego");
    std::fs::write(path, denies).unwrap();
    let published = (stand.platform).json(&["policies", "publish", "no_second.rego", "--json"]);
    let digest = published["digest"].as_str().unwrap();
    stand
        .platform
        .json(&["policies", "activate", digest, "--json"]);
    until("policy stops it", || async {
        let before = stand.b.counters().calls;
        let run = stand.run(hello()).await;
        let end = run.events.last().unwrap();
        if end["data"]["code"] != "policy_denied" {
            return false;
        }
        assert_eq!(run.one("model-switched")["to"], "second");
        assert_eq!(stand.b.counters().calls, before);
        true
    })
    .await;
}
