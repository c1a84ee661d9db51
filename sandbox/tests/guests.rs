//! What guests of each kind do when they mean well, and what their callers may rely on.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "common/mod.rs"]
mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_sandbox::measure::FIB_COMPONENT;
use nexus_sandbox::{
    BoxFuture, Call, CallError, Guest, HttpBroker, HttpRequest, HttpResponse, Output, Sandbox,
    SandboxConfig, Workspace,
};
use serde_json::json;
use support::{call, javascript, load, python, sandbox, wat};
use tokio::task::JoinSet;

async fn run(guest: Guest, call: Call) -> Result<Output, CallError> {
    let module = load(guest).await;
    sandbox().await.call(&module, call).await
}

#[tokio::test]
async fn a_component_in_c_is_a_tool() {
    let fib = || Guest::Wasm(FIB_COMPONENT.to_vec());
    let output = run(fib(), call("{\"n\": 20}")).await.unwrap();
    assert_eq!(output.value, json!({ "fib": 6765 }));
    assert_eq!(output.traces.printed, "counting\n");
    assert!(output.traces.peak_memory > 0 && output.traces.cpu > Duration::ZERO);
    let error = run(fib(), call("{}")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("tool_error", "n must be a number below 100")
    );
}

#[tokio::test]
async fn a_command_gives_back_what_it_reads() {
    let echo = wat(r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (loop
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 4096))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br_if 0 (i32.load (i32.const 8))))))"#);
    let input = json!({ "text": "ä".repeat(5000), "n": [1, 2.5, null, true] });
    let output = run(echo, call(&input.to_string())).await.unwrap();
    assert_eq!(output.value, input);
}

#[tokio::test]
async fn both_languages_compute_the_same() {
    let fib = [
        "const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2)); fib(input.n)",
        "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(input['n'])",
    ];
    let json = [
        "const copy = JSON.parse(JSON.stringify(input)); copy.list.reverse(); copy.sum = copy.list.reduce((a, b) => a + b); copy",
        "import json\ncopy = json.loads(json.dumps(input))\ncopy['list'].reverse()\ncopy['sum'] = sum(copy['list'])\ncopy",
    ];
    let regex = [
        "[...input.text.matchAll(/([a-z]+)@([a-z.]+)/g)].map((m) => [m[1], m[2]])",
        "import re\n[list(m) for m in re.findall('([a-z]+)@([a-z.]+)', input['text'])]",
    ];
    let input = json!({ "n": 15, "list": [3, 1, 2], "text": "ann@example.com, bob@b.org; ü@x" });
    for (sources, value) in [
        (fib, json!(610)),
        (
            json,
            json!({ "n": 15, "list": [2, 1, 3], "sum": 6, "text": input["text"] }),
        ),
        (regex, json!([["ann", "example.com"], ["bob", "b.org"]])),
    ] {
        let [js, py] = sources;
        for guest in [javascript(js), python(py)] {
            let mut call = call(&input.to_string());
            call.limits.cpu = Duration::from_secs(5);
            let output = run(guest.clone(), call).await;
            assert_eq!(output.unwrap().value, value, "{guest:?}");
        }
    }
}

#[tokio::test]
async fn a_script_may_define_call_and_print() {
    let js =
        "console.log('hi', { a: 1 }); async function call(input) { await null; return [input.a] }";
    let output = run(javascript(js), call("{\"a\": 1}")).await.unwrap();
    assert_eq!(output.value, json!([1]));
    assert_eq!(output.traces.printed, "hi {\"a\":1}\n");

    let py = "print('hi')\ndef call(input): return [input['a'], 'ä']";
    let mut call = call("{\"a\": 1}");
    call.limits.cpu = Duration::from_secs(5);
    let output = run(python(py), call).await.unwrap();
    assert_eq!(output.value, json!([1, "ä"]));
    assert_eq!(output.traces.printed, "hi\n");
}

#[tokio::test]
async fn an_error_says_where() {
    let error = run(javascript("const a = 1;\nnull.b"), call("1"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("TypeError") && error.to_string().contains(":2:"),
        "{error}"
    );
    let mut call = call("1");
    call.limits.cpu = Duration::from_secs(5);
    let error = run(python("a = 1\n1 / 0"), call).await.unwrap_err();
    assert_eq!(error.to_string(), "ZeroDivisionError: division by zero");
    assert!(
        error.traces.printed.contains("line 2"),
        "{}",
        error.traces.printed
    );
}

#[tokio::test]
async fn random_numbers_differ_between_calls() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let output = run(javascript("Math.random()"), call("1")).await.unwrap();
        seen.insert(output.value.to_string());
    }
    assert!(seen.len() > 1, "{seen:?}");
}

/// Remembers what it was asked for.
#[derive(Default)]
struct Echo(Mutex<Vec<HttpRequest>>);

impl HttpBroker for Echo {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, String>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if request.url.contains("secret") {
                return Err("not allowed".to_owned());
            }
            let response = HttpResponse {
                status: 201,
                headers: vec![("x-a".to_owned(), "b".to_owned())],
                body: request.body.clone(),
            };
            self.0.lock().unwrap().push(request);
            Ok(response)
        })
    }
}

#[tokio::test]
async fn requests_go_through_the_broker() {
    let broker = Arc::new(Echo::default());
    let with_broker = || Call {
        network: Some(Arc::clone(&broker) as Arc<dyn HttpBroker>),
        ..call("1")
    };
    let js = "const r = http.request('https://e.com/', { method: 'POST', headers: { a: 'b' }, body: { ü: 1 } }); \
              [r.status, r.headers['x-a'], r.json()]";
    let output = run(javascript(js), with_broker()).await.unwrap();
    assert_eq!(output.value, json!([201, "b", { "ü": 1 }]));
    let seen = broker.0.lock().unwrap().pop().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.url.as_str()),
        ("POST", "https://e.com/")
    );
    assert_eq!(seen.headers, [("a".to_owned(), "b".to_owned())]);

    let js = "http.request('https://secret/')";
    let error = run(javascript(js), with_broker()).await.unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
}

#[tokio::test]
async fn what_is_too_large_to_give_is_refused() {
    let mut small = call("[1, 2, 3]");
    small.limits.input = 4;
    let error = run(javascript("input"), small).await.unwrap_err();
    assert_eq!(error.code(), "input_exceeded");
    let source = " ".repeat((1 << 20) + 1);
    let error = sandbox().await.load(javascript(&source)).await.unwrap_err();
    assert_eq!(error.code(), "too_large");
}

#[tokio::test]
async fn a_module_is_loaded_once_and_code_is_kept_on_disk() {
    let one = load(javascript("1 + 1")).await;
    let two = load(javascript("1 + 1")).await;
    assert!(Arc::ptr_eq(&one, &two));
    assert_ne!(one.digest(), load(javascript("1 + 2")).await.digest());
}

#[tokio::test]
async fn nothing_keeps_a_module_when_its_sandbox_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(SandboxConfig::new(dir.path().join("code"))).unwrap();
    let module = sandbox
        .load(Guest::Wasm(FIB_COMPONENT.to_vec()))
        .await
        .unwrap();
    let gone = Arc::downgrade(&module);
    drop(sandbox);
    assert!(gone.upgrade().is_some());
    drop(module);
    assert!(gone.upgrade().is_none());
}

#[tokio::test]
async fn without_python_there_is_no_python() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(SandboxConfig::new(dir.path().join("code"))).unwrap();
    let error = sandbox.load(python("1")).await.unwrap_err();
    assert_eq!(error.code(), "no_interpreter");
}

#[cfg(unix)]
#[test]
fn compiled_code_that_others_may_change_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Sandbox::new(SandboxConfig::new(dir.path())).is_err());
}

#[tokio::test]
async fn only_components_are_given_files() {
    let mut with_files = call("1");
    with_files.workspace = Some(Workspace {
        dir: Path::new("/").to_path_buf(),
        quota: None,
    });
    for guest in [javascript("1"), python("1")] {
        let error = run(guest, with_files.clone()).await.unwrap_err();
        assert_eq!(error.code(), "unsupported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_some_loop() {
    let endless = load(support::javascript("for (;;);")).await;
    let mut looping = JoinSet::new();
    for _ in 0..4 {
        let endless = Arc::clone(&endless);
        looping.spawn(async move { sandbox().await.call(&endless, call("null")).await });
    }
    let good = load(support::javascript("input + 1")).await;
    for n in 0..20 {
        let mut quick = call(&n.to_string());
        quick.limits.wall = Duration::from_secs(5);
        let output = sandbox().await.call(&good, quick).await.unwrap();
        assert_eq!(output.value, json!(n + 1));
    }
    while let Some(ended) = looping.join_next().await {
        assert_eq!(ended.unwrap().unwrap_err().code(), "cpu_exceeded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_frees_its_place() {
    let config = SandboxConfig {
        max_calls: 1,
        ..support::config().await
    };
    let sandbox = Sandbox::new(config).unwrap();
    let endless = sandbox
        .load(support::javascript("for (;;);"))
        .await
        .unwrap();
    let good = sandbox.load(support::javascript("1")).await.unwrap();
    for _ in 0..3 {
        let mut long = call("null");
        long.limits.cpu = Duration::from_secs(3600);
        long.limits.wall = Duration::from_secs(3600);
        let dropped = tokio::time::timeout(Duration::from_millis(50), sandbox.call(&endless, long));
        assert!(dropped.await.is_err());
        // There is one place, so that this waits until the other is really gone.
        let output = sandbox.call(&good, call("null")).await.unwrap();
        assert_eq!(output.value, json!(1));
    }
}
