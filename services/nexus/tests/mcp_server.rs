//! The platform as a server of the Model Context Protocol, with real processes: in both revisions by
//! hand, by the protocol's official Python library, by our own client, and by the protocol's
//! conformance suite.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

#[path = "mcp_server/conformance.rs"]
mod conformance;
#[path = "support/python.rs"]
mod python;
mod support;
#[path = "mcp_server/talk.rs"]
mod talk;

use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, list, until};
use talk::{Asked, Talk};

const FAKE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../mcp/tests/fake_server.py"
);

/// Asks a boss before the calculator, and forbids some numbers.
const ASKS: &str = r#"package nexus.agent.policy
import rego.v1
default decision := {"allow": true}
decision := {"allow": false, "reasons": ["an unlucky number"]} if {
    contains(input.tool.arguments.expression, "13")
} else := {"allow": true, "require_approval": {"roles": ["boss"]}} if {
    contains(input.tool.arguments.expression, "7")
}
"#;

/// A model that calculates, then answers.
fn model() -> Options {
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("that is 42"),
            ..Rule::default()
        },
        Rule {
            contains: Some("calculate".to_owned()),
            reply: Reply::tools(vec![ScriptedCall::new(
                "calculator",
                &json!({ "expression": "6*7" }),
            )]),
            ..Rule::default()
        },
        Rule {
            contains: Some("slowly".to_owned()),
            reply: Reply {
                chunk_delay_ms: 200,
                ..Reply::text("word ".repeat(600))
            },
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

async fn policy(platform: &Platform, text: &str) {
    let body = json!({ "modules": { "policy.rego": text }, "activate": true });
    let (status, answer) = platform.post("/v1/policies", &body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn register(platform: &Platform, name: &str, more: &Value) {
    let mut tool = json!({
        "name": name, "version": "1.0.0", "description": "A tool of a test.",
        "category": "data_analysis", "kind": "javascript", "idempotent": true,
        "input_schema": { "type": "object" },
    });
    for (field, value) in more.as_object().unwrap() {
        tool[field] = value.clone();
    }
    let (status, done) = platform.post("/v1/tools", &tool).await;
    assert_eq!(status, 200, "{done}");
    let path = format!("/v1/tools/{name}?min_seq={}", done["seq"]);
    assert_eq!(platform.get(&path).await.0, 200);
}

async fn approve(platform: &Platform, run: &str) {
    let found = async || {
        let (_, row) = platform.get(&format!("/v1/runs/{run}")).await;
        Some(row["waiting_for"][0]["approval_id"].as_str()?.to_owned())
    };
    until("it is asked", || async { found().await.is_some() }).await;
    let path = format!("/v1/approvals/{}/approve", found().await.unwrap());
    let request = platform.http().post(platform.url(&path));
    let request = request.header("nexus-user", "bob");
    let answer = request.header("nexus-roles", "boss").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

async fn status(platform: &Platform, run: &str) -> String {
    let (_, row) = platform.get(&format!("/v1/runs/{run}")).await;
    row["status"].as_str().unwrap_or_default().to_owned()
}

async fn runs(platform: &Platform) -> Vec<Value> {
    list(&platform.get("/v1/runs").await.1)
}

fn expression(text: &str) -> Value {
    json!({ "expression": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_and_agents_are_called_in_both_revisions() {
    let mut platform = Platform::start(model()).await;
    policy(&platform, ASKS).await;
    for legacy in [false, true] {
        let talk = match legacy {
            true => Talk::with_handshake(&platform).await,
            false => Talk::stateless(&platform),
        };
        let all = talk.ask("tools/list", json!({})).await.result();
        let named = |name: &str| {
            let tools = list(&all["tools"]);
            tools
                .into_iter()
                .find(|tool| tool["name"] == *name)
                .unwrap()
        };
        let calculator = named("calculator");
        assert_eq!(calculator["inputSchema"]["required"][0], "expression");
        assert_eq!(calculator["annotations"]["readOnlyHint"], true);
        assert_eq!(all["resultType"] == "complete", !legacy, "{all}");

        let done = talk.call("calculator", expression("6*6")).await.result();
        assert_eq!(done["isError"], false, "{done}");
        let text = done["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("36"), "{done}");
        let run = done["_meta"]["nexus/run"].as_str().unwrap();
        let run = platform.ended(run).await;
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(run["tools"], json!(["calculator"]), "{run}");

        let asked = json!({ "input": "hello there" });
        let answer = talk.call("agent-default", asked).await.result();
        assert_eq!(answer["isError"], false, "{answer}");
        assert!(answer.get("structuredContent").is_none(), "{answer}");

        // What policy forbids, what fails and what is wrong are results: the model is to know.
        for (arguments, said) in [
            (expression("13+1"), "an unlucky number"),
            (expression("1/0"), "zero"),
            (json!({ "expression": 5 }), "bad_arguments"),
        ] {
            let refused = talk.call("calculator", arguments).await.result();
            assert_eq!(refused["isError"], true, "{refused}");
            let text = refused["content"][0]["text"].to_string();
            assert!(text.to_lowercase().contains(said), "{said}: {refused}");
            assert!(refused["_meta"]["nexus/run"].is_string(), "{refused}");
        }
        let wrong = talk
            .call("agent-default", json!({ "output": "x" }))
            .await
            .result();
        assert_eq!(wrong["isError"], true, "{wrong}");
        // What is no call is an error.
        assert_eq!(
            talk.call("no_such_tool", json!({})).await.error()["code"],
            -32602
        );
        assert_eq!(
            talk.call("calculator", json!([1])).await.error()["code"],
            -32602
        );
        let unknown = talk.ask("prompts/list", json!({})).await;
        assert_eq!(unknown.status, if legacy { 200 } else { 404 });
        assert_eq!(unknown.error()["code"], -32601);
        let bad = talk.ask("tools/list", json!({ "cursor": 7 })).await;
        assert_eq!(bad.error()["code"], -32602);
        // Any gateway serves any session, after a restart too.
        if legacy {
            platform.kill_and_restart("gateway");
            platform.ready().await;
            let pong = talk.ask("ping", json!({})).await.result();
            assert_eq!(pong, json!({}));
            for method in ["GET", "DELETE"] {
                let (status, allow) = talk.bare(method).await;
                assert_eq!((status, allow.as_str()), (405, "POST"), "{method}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_one_run_and_tenants_see_their_own() {
    let platform = Platform::start(model()).await;
    let mut talk = Talk::stateless(&platform);
    talk.headers.push(("idempotency-key", "once".to_owned()));
    let first = talk.call("calculator", expression("2+2")).await.result();
    let again = talk.call("calculator", expression("2+2")).await.result();
    assert_eq!(first, again);
    let seen = || async { !runs(&platform).await.is_empty() };
    until("the run is seen", seen).await;
    assert_eq!(runs(&platform).await.len(), 1);
    let other = talk.call("calculator", expression("2+3")).await.error();
    assert_eq!(other["code"], -32602, "{other}");
    talk.headers.clear();
    talk.call("calculator", expression("2+2")).await.result();
    talk.call("calculator", expression("2+2")).await.result();
    let three = || async { runs(&platform).await.len() == 3 };
    until("three runs are seen", three).await;

    // In a session a request's id is its name.
    let session = Talk::with_handshake(&platform).await;
    let call = json!({ "name": "calculator", "arguments": expression("1+1") });
    let first = session.ask_as(&json!(77), "tools/call", call.clone()).await;
    let again = session
        .ask_as(&json!(77), "tools/call", call)
        .await
        .result();
    assert_eq!(first.result(), again);
    let call = json!({ "name": "calculator", "arguments": expression("1+2") });
    let other = session.ask_as(&json!(77), "tools/call", call).await;
    assert_eq!(other.error()["code"], -32602);

    register(&platform, "ours", &json!({ "source": "1" })).await;
    let has = |all: &Value| {
        list(&all["tools"])
            .iter()
            .any(|tool| tool["name"] == "ours")
    };
    talk.headers.clear();
    assert!(has(&talk.ask("tools/list", json!({})).await.result()));
    talk.headers.push(("nexus-tenant", "others".to_owned()));
    assert!(!has(&talk.ask("tools/list", json!({})).await.result()));
    assert_eq!(talk.call("ours", json!({})).await.error()["code"], -32602);
    // A run of another tenant, or of another user, cannot be taken up.
    let state = format!(
        "nexus-run:{}",
        first.result()["_meta"]["nexus/run"].as_str().unwrap()
    );
    let call = json!({
        "name": "calculator", "arguments": expression("1+1"), "requestState": state,
    });
    for stranger in [("nexus-tenant", "others"), ("nexus-user", "mallory")] {
        talk.headers = vec![(stranger.0, stranger.1.to_owned())];
        let refused = talk.ask("tools/call", call.clone()).await;
        assert_eq!(refused.error()["code"], -32602, "{stranger:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_a_question_that_is_come_back_for() {
    let platform = Platform::start(model()).await;
    policy(&platform, ASKS).await;
    let mut talk = Talk::stateless(&platform);
    talk.capabilities = json!({ "elicitation": {} });
    for (name, arguments) in [
        ("calculator", expression("6*7")),
        ("agent-default", json!({ "input": "calculate" })),
    ] {
        let asked = talk.call(name, arguments.clone()).await.result();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let question = &asked["inputRequests"]["approval"];
        assert_eq!(question["method"], "elicitation/create");
        let words = question["params"]["message"].as_str().unwrap();
        assert!(
            words.contains("boss") && words.contains("/v1/approvals/"),
            "{words}"
        );
        let run = asked["_meta"]["nexus/run"].as_str().unwrap().to_owned();
        let waits = || async { status(&platform, &run).await == "waiting" };
        until("the run waits", waits).await;
        let state = asked["requestState"].clone();
        let back = |arguments: &Value, answer: Value| {
            json!({
                "name": name, "arguments": arguments, "requestState": state,
                "inputResponses": { "approval": answer },
            })
        };
        let yes = json!({ "action": "accept", "content": { "wait": true } });

        // The state is good for this call alone.
        let other = match name {
            "calculator" => expression("6*17"),
            _ => json!({ "input": "something else" }),
        };
        let refused = talk.ask("tools/call", back(&other, yes.clone())).await;
        assert_eq!(refused.error()["code"], -32602);
        for bad in [
            "",
            "nexus-run:x",
            "nexus-run:00000000-0000-7000-8000-000000000000",
        ] {
            let mut call = back(&arguments, yes.clone());
            call["requestState"] = json!(bad);
            assert_eq!(
                talk.ask("tools/call", call).await.error()["code"],
                -32602,
                "{bad}"
            );
        }

        let call = back(&arguments, yes);
        let (done, ()) = tokio::join!(talk.ask("tools/call", call), approve(&platform, &run));
        let done = done.result();
        assert_eq!(
            (&done["isError"], &done["resultType"]),
            (&json!(false), &json!("complete"))
        );
        assert!(
            done["content"][0]["text"].as_str().unwrap().contains("42"),
            "{done}"
        );
        assert_eq!(done["_meta"]["nexus/run"], *run);

        // Whoever does not want to wait takes it back.
        let asked = talk.call(name, arguments.clone()).await.result();
        let run = asked["_meta"]["nexus/run"].as_str().unwrap().to_owned();
        let mut call = json!({ "name": name, "arguments": arguments });
        call["requestState"] = asked["requestState"].clone();
        call["inputResponses"] = json!({ "approval": { "action": "decline" } });
        let gone = talk.ask("tools/call", call).await.result();
        assert_eq!(gone["isError"], true, "{gone}");
        assert_eq!(platform.ended(&run).await["status"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_ask_waits_and_is_told_where_to_approve() {
    let platform = Platform::start(model()).await;
    policy(&platform, ASKS).await;
    let stateless = Talk::stateless(&platform);
    let session = Talk::with_handshake(&platform).await;
    for talk in [stateless, session] {
        let call = json!({
            "name": "calculator", "arguments": expression("6*7"),
            "_meta": { "progressToken": "p" },
        });
        let mut stream = talk.open("tools/call", call).await;
        let (mut said, mut last) = (String::new(), 0);
        while !said.contains("/v1/approvals/") {
            let told = stream.next().await.expect("progress");
            assert_eq!(told["method"], "notifications/progress", "{told}");
            assert_eq!(told["params"]["progressToken"], "p");
            let progress = told["params"]["progress"].as_u64().unwrap();
            assert!(progress > last, "{told}");
            last = progress;
            said.push_str(told["params"]["message"].as_str().unwrap());
        }
        let run = stream.run.clone();
        approve(&platform, &run).await;
        let mut answer = Value::Null;
        while let Some(told) = stream.next().await {
            answer = told;
        }
        let done = Asked::of(200, answer).result();
        assert!(
            done["content"][0]["text"].as_str().unwrap().contains("42"),
            "{done}"
        );

        // Who goes away takes along what has not begun.
        let call = json!({
            "name": "calculator", "arguments": expression("7*7"),
            "_meta": { "progressToken": 1 },
        });
        let mut stream = talk.open("tools/call", call).await;
        stream.next().await.expect("progress");
        let run = stream.run.clone();
        drop(stream);
        assert_eq!(platform.ended(&run).await["status"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_back_a_request_from_another_connection() {
    let platform = Platform::start(model()).await;
    policy(&platform, ASKS).await;
    let talk = Talk::with_handshake(&platform).await;
    let call = json!({ "name": "agent-default", "arguments": { "input": "slowly please" } });
    let id = json!("r1");
    let waiting = talk.ask_as(&id, "tools/call", call);
    let cancel = async {
        let begun = || async {
            runs(&platform)
                .await
                .iter()
                .any(|run| run["status"] == "running")
        };
        until("the run is going", begun).await;
        // Another session's request of the same name is another.
        let other = Talk::with_handshake(&platform).await;
        for talk in [&other, &talk] {
            let params = json!({ "requestId": "r1" });
            assert_eq!(talk.notify("notifications/cancelled", params).await, 202);
        }
    };
    let (answer, ()) = tokio::join!(waiting, cancel);
    assert_eq!(answer.result()["isError"], true);
    let run = &runs(&platform).await[0];
    let run = platform.ended(run["id"].as_str().unwrap()).await;
    assert_eq!(run["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_is_not_taken_back_and_a_doubt_is_told() {
    let mut platform = Platform::start(model()).await;
    let toml = format!(
        "[[tools.mcp]]\nname = \"fake\"\ncommand = \"python3\"\nargs = [{FAKE:?}]\n\
         category = \"http\"\ntimeout = \"3s\"\n"
    );
    std::fs::write(platform.stack.dir().join("nexus.toml"), toml).unwrap();
    platform.kill_and_restart("tools");
    platform.json(&["tools", "import", "fake", "--tool", "silent", "--json"]);
    let talk = Talk::stateless(&platform);
    let call = json!({
        "name": "fake_silent", "arguments": {}, "_meta": { "progressToken": "p" },
    });
    let mut stream = talk.open("tools/call", call).await;
    let mut said = String::new();
    while !said.contains("is called") {
        said = stream.next().await.expect("progress")["params"]["message"].to_string();
    }
    let run = stream.run.clone();
    drop(stream);
    let doubted = async || {
        let (_, calls) = platform.get("/v1/tool-calls?status=in_doubt").await;
        list(&calls).iter().any(|call| call["run_id"] == *run)
    };
    until("it is in doubt", doubted).await;

    let doubt = talk.call("fake_silent", json!({})).await.result();
    assert_eq!(doubt["isError"], true, "{doubt}");
    let text = doubt["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("in_doubt") && text.contains("/resolve"),
        "{text}"
    );
}

/// The protocol's own library for Python, in the environment that `NEXUS_TEST_PYTHON` names.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client() {
    let Some(python) = python::interpreter("mcp") else {
        return;
    };
    let platform = Platform::start(model()).await;
    policy(&platform, ASKS).await;
    let client = python::Client {
        python,
        platform: &platform,
        script: "mcp_server/client.py",
    };
    for mode in ["auto", "2026-07-28", "legacy"] {
        client.case(mode).await;
    }
    let approve_all = async {
        let asked = || async { !pending(&platform).await.is_empty() };
        until("it is asked", asked).await;
        approve(&platform, &pending(&platform).await[0]).await;
    };
    let (said, ()) = tokio::join!(client.case("approval"), approve_all);
    assert!(said.contains("42"), "{said}");
}

/// Runs that wait for somebody.
async fn pending(platform: &Platform) -> Vec<String> {
    let runs = list(&platform.get("/v1/runs?status=waiting").await.1);
    let ids = runs.iter().filter_map(|run| run["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// Our own client against our own server.
#[tokio::test(flavor = "multi_thread")]
async fn the_platform_uses_itself() {
    let mut platform = Platform::start(model()).await;
    let url = platform.url("/mcp");
    let server = |name: &str, protocol: &str| {
        format!(
            "[[tools.mcp]]\nname = \"{name}\"\nurl = {url:?}\nprotocol = \"{protocol}\"\n\
             category = \"data_analysis\"\ntools = [\"calculator\"]\nidempotent = [\"*\"]\n"
        )
    };
    let toml = server("new", "2026-07-28") + &server("old", "2025-11-25") + &server("any", "auto");
    std::fs::write(platform.stack.dir().join("nexus.toml"), toml).unwrap();
    platform.kill_and_restart("tools");
    for name in ["new", "old", "any"] {
        let done = platform.json(&["tools", "import", name, "--json"]);
        let tools = list(&done["tools"]);
        assert_eq!((tools.len(), &done["refused"]), (1, &json!([])), "{done}");
        let talk = Talk::stateless(&platform);
        let tool = format!("{name}_calculator");
        let done = talk.call(&tool, expression("5*5")).await.result();
        assert_eq!(done["isError"], false, "{done}");
        assert!(
            done["content"][0]["text"].as_str().unwrap().contains("25"),
            "{done}"
        );
    }
    let all_seen = || async {
        let runs = runs(&platform).await;
        runs.iter()
            .filter(|run| run["tools"][0] == "calculator")
            .count()
            == 3
    };
    until("three runs of the tool behind them", all_seen).await;
}
