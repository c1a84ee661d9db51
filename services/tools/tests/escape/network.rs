use nexus_events::tool::Permissions;
use serde_json::{Value, json};

use crate::server::Server;
use crate::stand::{Names, Stand, network};

/// An address that is nobody's: not special, and not routed either.
const NOWHERE: &str = "2d00::1";

fn names() -> Names {
    Names::new(&[
        ("localhost", &[&["127.0.0.1"]]),
        ("inside.allowed.test", &[&["127.0.0.1"]]),
        ("mixed.allowed.test", &[&[NOWHERE, "127.0.0.1"]]),
        ("mapped.allowed.test", &[&["::ffff:127.0.0.1"]]),
        ("compatible.allowed.test", &[&["::127.0.0.1"]]),
        ("nat64.allowed.test", &[&["64:ff9b::127.0.0.1"]]),
        ("6to4.allowed.test", &[&["2002:7f00:1::1"]]),
        ("teredo.allowed.test", &[&["2001::80ff:fffe"]]),
        ("private.allowed.test", &[&["10.0.0.1"]]),
        ("carrier.allowed.test", &[&["100.64.0.1"]]),
        ("metadata.allowed.test", &[&["169.254.169.254"]]),
        ("metadata6.allowed.test", &[&["fd00:ec2::254"]]),
        ("unspecified.allowed.test", &[&["0.0.0.0"]]),
        ("blocked.allowed.test", &[&["2d01::5"]]),
        ("rebind.allowed.test", &[&[NOWHERE], &["127.0.0.1"]]),
    ])
}

fn get(url: impl Into<String>) -> Value {
    json!({ "url": url.into() })
}

/// What is asked for, and the code of the refusal.
fn attempts(open: &Server, inside: &Server) -> Vec<(Value, &'static str)> {
    let port = inside.port;
    let at = |host: &str| get(format!("http://{host}:{port}/"));
    let to = |location: String| get(open.url(&format!("/to?{location}")));
    let mut rows = Vec::new();
    // The address itself, in every notation.
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127%2e0%2e0%2e1",
        "１２７.0.0.1",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
        "127.255.255.254",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "203.0.113.7",
    ] {
        rows.push((at(host), "denied"));
    }
    // Names that are not allowed, or lead to where nothing may go.
    for host in [
        "localhost",
        "LOCALHOST.",
        "allowed.test",
        "evilallowed.test",
        "x.allowed.test.evil.test",
        "allowed.test.evil.test",
        "inside.allowed.test",
        "inside.ALLOWED.test.",
        "mixed.allowed.test",
        "mapped.allowed.test",
        "compatible.allowed.test",
        "nat64.allowed.test",
        "6to4.allowed.test",
        "teredo.allowed.test",
        "private.allowed.test",
        "carrier.allowed.test",
        "metadata.allowed.test",
        "metadata6.allowed.test",
        "unspecified.allowed.test",
        "blocked.allowed.test",
    ] {
        rows.push((at(host), "denied"));
    }
    // URLs that read as one host and are another, or none.
    for url in [
        format!("http://127.0.0.1:{}@127.0.0.1:{port}/", open.port),
        format!("http://x.allowed.test@127.0.0.1:{port}/"),
        format!("http://:x@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}\\@127.0.0.1:{}/", open.port),
        format!("http://127.0.0.1:{port}/\r\nHost: x.allowed.test"),
        format!("http://127.0.0.1:{port}\t/"),
        format!("//127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        format!("ftp://127.0.0.1:{port}/"),
        format!("gopher://127.0.0.1:{port}/_x"),
        format!("ws://127.0.0.1:{port}/"),
        "data:text/plain,x".to_owned(),
        "http://".to_owned(),
        "http://256.0.0.1/".to_owned(),
        "http://x.allowed.test:99999/".to_owned(),
        format!("http://x.allowed.test/{}", "a".repeat(9000)),
    ] {
        rows.push((get(url), "bad_arguments"));
    }
    // Servers that lead elsewhere.
    for location in [
        inside.url("/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://inside.allowed.test:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        rows.push((to(location), "denied"));
    }
    rows.push((to("file:///etc/passwd".to_owned()), "bad_arguments"));
    rows.push((to(format!("http://x@127.0.0.1:{port}/")), "bad_arguments"));
    rows.push((get(open.url("/loop")), "too_many_redirects"));
    // What would change whom the request is for, or where it ends.
    for (name, value) in [
        ("Host", "x.allowed.test"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "0"),
        ("Connection", "upgrade"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "keep-alive"),
        ("Idempotency-Key", "mine"),
        ("X-A", "a\r\nHost: b"),
        ("X-A\r\nX-B", "a"),
        ("X-A", "a\u{0}"),
    ] {
        rows.push((
            json!({ "url": open.url("/"), "headers": { name: value } }),
            "bad_arguments",
        ));
    }
    for method in ["CONNECT", "TRACE", "GET / HTTP/1.1\r\nX:", "", "PRI"] {
        rows.push((
            json!({ "url": open.url("/"), "method": method }),
            "bad_arguments",
        ));
    }
    let many: serde_json::Map<_, _> = (0..100).map(|n| (format!("x-{n}"), "a".into())).collect();
    rows.push((
        json!({ "url": open.url("/"), "headers": many }),
        "bad_arguments",
    ));
    for odd in [
        json!({ "url": open.url("/"), "proxy": inside.url("/") }),
        json!({ "url": [inside.url("/")] }),
        json!({ "url": open.url("/"), "body": "x".repeat(2 << 20), "method": "POST" }),
        json!({ "url": open.url("/"), "body": "x", "json": 1 }),
        json!(null),
        json!({}),
    ] {
        rows.push((odd, "bad_arguments"));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_not_allowed_is_connected_to() {
    let (open, inside) = (Server::start().await, Server::start().await);
    let hosts = [open.host(), "*.allowed.test:*".to_owned()];
    let stand = Stand::new(names(), network(&hosts));
    let rows = attempts(&open, &inside);
    assert!(rows.len() >= 90, "{}", rows.len());
    for (arguments, expected) in rows {
        let told: String = arguments.to_string().chars().take(120).collect();
        match stand.call("http_request", arguments).await {
            Err(error) => assert_eq!(error.code, expected, "{told}: {}", error.message),
            Ok(answer) => panic!("{told}: {answer}"),
        }
    }
    assert_eq!(inside.connections(), 0);
    // It still works.
    let answer = stand
        .call("http_request", get(open.url("/")))
        .await
        .unwrap();
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(200), &json!("ok"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_resolves_differently_a_moment_later_gains_nothing() {
    let inside = Server::start().await;
    let names = names();
    let stand = Stand::new(names.clone(), network(&["*.allowed.test:*".to_owned()]));
    let url = format!("http://rebind.allowed.test:{}/", inside.port);
    let first = stand.call("http_request", get(&url)).await.unwrap_err();
    // It went to the address that was checked, where nobody is.
    assert!(matches!(first.code, "unreachable" | "timeout"), "{first:?}");
    assert_eq!(names.asked("rebind.allowed.test"), 1);
    let second = stand.call("http_request", get(&url)).await.unwrap_err();
    assert_eq!(second.code, "denied");
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permission_or_with_a_mistake_in_it_nothing_is_reached() {
    let inside = Server::start().await;
    let mut mistaken = network(&[inside.host()]);
    if let Some(network) = &mut mistaken.network {
        network.blocked_ips.push("10.*.1".to_owned());
    }
    for permissions in [
        Permissions::none(),
        network(&[]),
        mistaken,
        network(&["http://*".to_owned()]),
    ] {
        let stand = Stand::new(names(), permissions);
        let error = stand
            .call("http_request", get(inside.url("/")))
            .await
            .unwrap_err();
        assert_eq!(error.code, "denied");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_bounded_in_size_and_time() {
    let open = Server::start().await;
    let stand = Stand::new(names(), network(&[open.host()]));
    let endless = stand
        .call("http_request", get(open.url("/endless")))
        .await
        .unwrap();
    assert_eq!(endless["truncated"], json!(true));
    assert_eq!(endless["body"].as_str().unwrap().len(), 10_000);
    let mut small = Stand::new(names(), network(&[open.host()]));
    small.context.limits.max_output_bytes = 4_000;
    let cut = small
        .call("http_request", get(open.url("/endless")))
        .await
        .unwrap();
    assert!(
        cut["truncated"] == json!(true) && cut.to_string().len() <= 4_000,
        "{cut}"
    );
    let packed = stand
        .call("http_request", get(open.url("/packed")))
        .await
        .unwrap();
    assert_eq!(
        packed["body_base64"],
        json!("H4sI/w=="),
        "it is not unpacked"
    );
    let silent = stand
        .call("http_request", get(open.url("/silent")))
        .await
        .unwrap_err();
    assert_eq!(silent.code, "timeout");
    let head = stand
        .call("http_request", get(open.url("/head")))
        .await
        .unwrap_err();
    assert!(matches!(head.code, "unreachable" | "timeout"), "{head:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_changes_something_carries_the_calls_key() {
    let (open, other) = (Server::start().await, Server::start().await);
    let stand = Stand::new(names(), network(&[open.host(), other.host()]));
    let ask = async |arguments: Value| {
        let answer = stand.call("http_request", arguments).await.unwrap();
        answer["body"].as_str().unwrap().to_ascii_lowercase()
    };
    let get = ask(get(open.url("/echo#part"))).await;
    assert!(
        get.starts_with("get /echo http/1.1") && !get.contains("idempotency-key"),
        "{get}"
    );
    assert!(get.contains("accept-encoding: identity"), "{get}");
    let json = json!({ "url": open.url("/echo"), "method": "post", "json": { "a": 1 } });
    let post = ask(json).await;
    assert!(post.contains("idempotency-key: key-of-the-call"), "{post}");
    assert!(post.contains("content-type: application/json"), "{post}");
    let secret = json!({ "Authorization": "Bearer x", "Cookie": "a=b", "Accept": "text/plain" });
    let to = open.url(&format!("/to308?{}", other.url("/echo")));
    let moved = ask(json!({ "url": to, "method": "PUT", "body": "b", "headers": secret })).await;
    assert!(
        moved.starts_with("put ") && moved.contains("idempotency-key"),
        "{moved}"
    );
    assert!(moved.contains("accept: text/plain"), "{moved}");
    assert!(
        !moved.contains("authorization") && !moved.contains("cookie"),
        "{moved}"
    );
    let to = open.url(&format!("/to?{}", open.url("/echo")));
    let see = ask(json!({ "url": to, "method": "POST", "body": "b", "headers": secret })).await;
    assert!(
        see.starts_with("get ") && see.contains("authorization: bearer x"),
        "{see}"
    );
    assert!(!see.contains("idempotency-key"), "{see}");
}
