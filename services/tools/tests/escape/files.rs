use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_events::RunId;
use serde_json::{Value, json};

use crate::stand::{Names, Stand, files};

const SECRET: &str = "not for tools";

fn stand() -> Stand {
    Stand::new(Names::default(), files(&["*"], &["*"], None))
}

/// A workspace in which somebody has left every kind of trap.
fn trapped() -> Stand {
    let stand = stand();
    let (inside, outside) = (stand.inside(), stand.outside());
    let secret = outside.join("secret.txt");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::write(inside.join("own.txt"), "own").unwrap();
    std::fs::create_dir(inside.join("folder")).unwrap();
    symlink(&secret, inside.join("link.txt")).unwrap();
    symlink("own.txt", inside.join("inner-link.txt")).unwrap();
    symlink("missing", inside.join("dangling.txt")).unwrap();
    symlink(&outside, inside.join("way-out")).unwrap();
    symlink("../../..", inside.join("up")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    symlink("/proc/self/environ", inside.join("environ")).unwrap();
    std::fs::hard_link(&secret, inside.join("second-name.txt")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, inside.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    stand
}

const OUTSIDE: &[&str] = &[
    "/etc/passwd",
    "/",
    "/tmp/agent-workspace/../../../etc/passwd",
    "../secret.txt",
    "../../../../../../etc/passwd",
    "folder/../../secret.txt",
    "..",
    "folder/..",
    "/tmp/agent-workspace-2/x",
    "/proc/self/root/etc/passwd",
    "own.txt\0.png",
    "..\\secret.txt",
    "．．/secret.txt",
    "..／secret.txt",
    "\u{202e}txt.own",
    "own.txt.",
    "own.txt ",
    "",
];
const TRAPS: &[&str] = &[
    "link.txt",
    "inner-link.txt",
    "dangling.txt",
    "way-out/secret.txt",
    "up/outside/secret.txt",
    "loop",
    "loop/x",
    "environ",
    "second-name.txt",
    "pipe",
    "folder",
    "own.txt/x",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_of_the_workspace_is_touched() {
    let stand = trapped();
    let mut attempts = 0;
    for path in OUTSIDE {
        for (tool, arguments) in [
            ("file_read", json!({ "path": path })),
            ("file_write", json!({ "path": path, "text": "x" })),
            ("file_list", json!({ "path": path })),
            ("text_search", json!({ "pattern": ".", "path": path })),
            ("json_query", json!({ "query": "$", "path": path })),
        ] {
            let error = stand.call(tool, arguments).await.unwrap_err();
            assert_eq!(error.code, "denied", "{tool} {path:?}: {}", error.message);
            attempts += 1;
        }
    }
    for path in TRAPS {
        let error = stand
            .call("file_read", json!({ "path": path }))
            .await
            .unwrap_err();
        assert_eq!(error.code, "not_a_file", "read {path}: {}", error.message);
        let query = json!({ "query": "$", "path": path });
        assert_eq!(
            stand.call("json_query", query).await.unwrap_err().code,
            "not_a_file",
            "{path}"
        );
        attempts += 2;
        // A second name is replaced, and the other file stays what it was.
        if *path != "second-name.txt" {
            let write = json!({ "path": path, "text": "x" });
            let error = stand.call("file_write", write).await.unwrap_err();
            assert_eq!(error.code, "not_a_file", "write {path}: {}", error.message);
            attempts += 1;
        }
    }
    for folder in ["way-out", "up", "up/outside", "loop", "environ", "own.txt"] {
        let error = stand
            .call("file_list", json!({ "path": folder }))
            .await
            .unwrap_err();
        assert_eq!(error.code, "not_a_file", "list {folder}: {}", error.message);
        attempts += 1;
    }
    assert!(attempts >= 120, "{attempts}");
    let listed = stand
        .call("file_list", json!({ "recursive": true }))
        .await
        .unwrap()
        .to_string();
    assert!(
        !listed.contains("link") && !listed.contains("pipe") && !listed.contains("secret"),
        "{listed}"
    );
    let found = stand
        .call("text_search", json!({ "pattern": "not for", "path": "." }))
        .await
        .unwrap();
    assert_eq!(found["matches"], json!([]));
    let replaced = json!({ "path": "second-name.txt", "text": "x" });
    stand.call("file_write", replaced).await.unwrap();
    let secret = std::fs::read_to_string(stand.outside().join("secret.txt")).unwrap();
    assert_eq!(secret, SECRET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_says_what_is_read_and_written() {
    let only = files(&["/tmp/agent-workspace/in/*"], &["out/*"], Some(&[".txt"]));
    let stand = Stand::new(Names::default(), only);
    std::fs::create_dir(stand.inside().join("in")).unwrap();
    for name in ["in/a.txt", "in/a.exe", "b.txt"] {
        std::fs::write(stand.inside().join(name), "here").unwrap();
    }
    for (tool, path, fine) in [
        ("file_read", "in/a.txt", true),
        ("file_read", "in/a.exe", false),
        ("file_read", "b.txt", false),
        ("file_read", "IN/a.txt", false),
        ("file_read", "out/a.txt", false),
        ("file_write", "out/a.txt", true),
        ("file_write", "out/deep/a.TXT", true),
        ("file_write", "out/a.sh", false),
        ("file_write", "out/.txt", false),
        ("file_write", "out", false),
        ("file_write", "in/a.txt", false),
        ("file_write", "outer/a.txt", false),
    ] {
        let text = (tool == "file_write").then_some("x");
        let mut arguments = json!({ "path": path });
        if let Some(text) = text {
            arguments["text"] = text.into();
        }
        let answer = stand.call(tool, arguments).await;
        assert_eq!(answer.is_ok(), fine, "{tool} {path}: {answer:?}");
    }
    let listed = stand
        .call("file_list", json!({ "recursive": true }))
        .await
        .unwrap();
    let paths: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].clone())
        .collect();
    assert_eq!(
        paths,
        ["/tmp/agent-workspace/in", "/tmp/agent-workspace/in/a.txt"].map(Value::from)
    );
    let nothing = Stand::new(Names::default(), nexus_events::tool::Permissions::none());
    for tool in ["file_read", "file_list"] {
        let error = nothing
            .call(tool, json!({ "path": "a" }))
            .await
            .unwrap_err();
        assert_eq!(error.code, "denied");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_listed_and_searched() {
    let stand = stand();
    let empty = stand.call("file_list", json!({})).await.unwrap();
    assert_eq!(empty, json!({ "entries": [], "truncated": false }));
    let text = "first line\nsecond: {x}\n";
    stand
        .call("file_write", json!({ "path": "a/b.txt", "text": text }))
        .await
        .unwrap();
    stand
        .call("file_write", json!({ "path": "c.bin", "base64": "AP8=" }))
        .await
        .unwrap();
    stand
        .call(
            "file_write",
            json!({ "path": "d.json", "text": "{\"n\":[1,2,3]}" }),
        )
        .await
        .unwrap();
    let read = stand
        .call(
            "file_read",
            json!({ "path": "/tmp/agent-workspace/a/b.txt" }),
        )
        .await
        .unwrap();
    assert_eq!(read["text"], json!(text));
    let read = stand
        .call("file_read", json!({ "path": "c.bin" }))
        .await
        .unwrap();
    assert_eq!(read["base64"], json!("AP8="));
    let found = stand
        .call(
            "text_search",
            json!({ "pattern": "^SECOND", "path": "a", "ignore_case": true }),
        )
        .await;
    assert_eq!(
        found.unwrap()["matches"],
        json!([{ "path": "/tmp/agent-workspace/a/b.txt", "line": 2, "text": "second: {x}" }])
    );
    let query = json!({ "query": "$.n[?@ > 1]", "path": "d.json" });
    assert_eq!(
        stand.call("json_query", query).await.unwrap()["matches"],
        json!([2, 3])
    );
    let missing = stand
        .call("file_read", json!({ "path": "missing.txt" }))
        .await;
    assert_eq!(missing.unwrap_err().code, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_sees_no_files_but_its_own() {
    let mut stand = stand();
    let write = json!({ "path": "a.txt", "text": "mine" });
    stand.call("file_write", write).await.unwrap();
    let (tenant, run) = (stand.context.tenant.clone(), stand.context.run_id);
    for (tenant, run) in [
        (tenant.clone(), RunId::derive(&["two"])),
        ("other".parse().unwrap(), run),
    ] {
        stand.context.workspace = stand.workspaces.of(&tenant, run);
        for path in ["a.txt", "files/a.txt", "acme/a.txt"] {
            let read = stand.call("file_read", json!({ "path": path })).await;
            assert_eq!(read.unwrap_err().code, "not_found", "{path}");
        }
        let listed = stand.call("file_list", json!({ "recursive": true })).await;
        assert_eq!(listed.unwrap()["entries"], json!([]));
    }
    stand.context.workspace = stand.workspaces.of(&tenant, run);
    let read = stand
        .call("file_read", json!({ "path": "a.txt" }))
        .await
        .unwrap();
    assert_eq!(read["text"], json!("mine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_fills_up_and_says_so() {
    let stand = stand();
    let write = async |path: String, size: usize| {
        let arguments = json!({ "path": path, "text": "x".repeat(size) });
        stand
            .call("file_write", arguments)
            .await
            .map_err(|error| error.code)
    };
    assert_eq!(write("large".to_owned(), 60_000).await, Err("too_large"));
    write("a".to_owned(), 49_000).await.unwrap();
    write("b".to_owned(), 49_000).await.unwrap();
    assert_eq!(write("c".to_owned(), 10_000).await, Err("workspace_full"));
    // In the place of what was there it fits.
    write("b".to_owned(), 40_000).await.unwrap();
    write("c".to_owned(), 10_000).await.unwrap();
    let mut full = None;
    for n in 0..60 {
        if let Err(code) = write(format!("n/{n}"), 1).await {
            full = Some((n, code));
            break;
        }
    }
    assert_eq!(
        full,
        Some((36, "workspace_full")),
        "40 with three files and their folder"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_stay_within_the_quota_and_readers_see_whole_files() {
    let stand = stand();
    let write = |path: String, text: String| {
        stand.call("file_write", json!({ "path": path, "text": text }))
    };
    let letter = |n| char::from(b'a' + n).to_string().repeat(15_000);
    let writes = (0..12).map(|n| write("same.txt".to_owned(), letter(n)));
    let reads = (0..12).map(|_| stand.call("file_read", json!({ "path": "same.txt" })));
    let (written, read) = tokio::join!(
        futures_util::future::join_all(writes),
        futures_util::future::join_all(reads)
    );
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    for answer in read.into_iter().flatten() {
        let text = answer["text"].as_str().unwrap();
        let first = text.chars().next().unwrap();
        assert!(text.len() == 15_000 && text.chars().all(|c| c == first));
    }
    let writes = (0..12).map(|n| write(format!("many/{n}"), letter(n)));
    let written = futures_util::future::join_all(writes).await;
    let fine = written.iter().filter(|result| result.is_ok()).count();
    assert_eq!(fine, 5, "100,000 bytes with 15,000 already there");
}

/// Somebody swaps a folder for a link to the outside, again and again, while tools go through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_with_a_link_is_never_won() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    let stand = stand();
    let (inside, outside) = (stand.inside(), stand.outside());
    std::fs::write(outside.join("file.txt"), SECRET).unwrap();
    let (way, link) = (inside.join("way"), inside.join("link"));
    std::fs::create_dir(&way).unwrap();
    std::fs::write(way.join("file.txt"), "fine").unwrap();
    symlink(&outside, &link).unwrap();
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let done = std::sync::Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &way, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        }
    });
    let (mut rounds, mut through, mut refused) = (0, 0, 0);
    // Until both were met, so that there was a race.
    while rounds < 200 || (through == 0 || refused == 0) && rounds < 20_000 {
        rounds += 1;
        match stand
            .call("file_read", json!({ "path": "way/file.txt" }))
            .await
        {
            Ok(answer) => {
                assert_eq!(answer["text"], json!("fine"));
                through += 1;
            }
            Err(_) => refused += 1,
        }
        for path in ["way/file.txt", "way/new.txt"] {
            let _ = stand
                .call("file_write", json!({ "path": path, "text": "fine" }))
                .await;
        }
    }
    done.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(
        through > 0 && refused > 0,
        "{through} and {refused} of {rounds}"
    );
    assert_eq!(
        std::fs::read_to_string(outside.join("file.txt")).unwrap(),
        SECRET
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_arguments_are_told_and_patterns_are_bounded() {
    let stand = stand();
    for (tool, arguments) in [
        ("file_read", json!({})),
        ("file_read", json!({ "path": 7 })),
        ("file_read", json!({ "path": "a", "mode": "0777" })),
        ("file_read", json!(["a"])),
        ("file_write", json!({ "path": "a" })),
        (
            "file_write",
            json!({ "path": "a", "text": "b", "base64": "Yg==" }),
        ),
        ("file_write", json!({ "path": "a", "base64": "no base64!" })),
        ("file_list", json!({ "path": "a", "recursive": "yes" })),
        ("text_search", json!({ "pattern": "a" })),
        ("text_search", json!({ "pattern": "", "text": "a" })),
        ("text_search", json!({ "pattern": "(a", "text": "a" })),
        ("text_search", json!({ "pattern": "(?=a)", "text": "a" })),
        (
            "text_search",
            json!({ "pattern": "((a{999}){999}){9}", "text": "a" }),
        ),
        (
            "text_search",
            json!({ "pattern": "(".repeat(400), "text": "a" }),
        ),
        (
            "text_search",
            json!({ "pattern": "a".repeat(600), "text": "a" }),
        ),
        ("json_query", json!({ "query": "$" })),
        ("json_query", json!({ "query": "$[", "json": 1 })),
        (
            "json_query",
            json!({ "query": "$", "json": 1, "path": "a" }),
        ),
    ] {
        let told = arguments.to_string();
        let error = stand.call(tool, arguments).await.unwrap_err();
        assert_eq!(
            error.code, "bad_arguments",
            "{tool} {told}: {}",
            error.message
        );
    }
    let slow = json!({ "pattern": "(a+)+$", "text": format!("{}b", "a".repeat(200_000)) });
    let answer = stand.call("text_search", slow).await.unwrap();
    assert_eq!(answer["matches"], json!([]));
}
