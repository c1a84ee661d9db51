//! What a component can do in a workspace, and that it cannot leave it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::os::unix::fs::symlink;
use std::time::Duration;
use std::{fs, path::Path};

use nexus_sandbox::{Call, Guest, Quota, Sandbox, SandboxConfig, Workspace};
use serde_json::{Value, json};

const OPENED: i32 = 200;
const NOT_PERMITTED: i32 = 31;
const NO_DIRECTORY: i32 = 300;
/// Flags of opening: to read, to write; to create.
const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 1;

/// A component that opens a path of its workspace and then does what `body` says with `$file`. Its
/// result is 200, or the place of its error in the list of WASI's.
fn opening(path: &str, create: i32, flags: i32, body: &str) -> Guest {
    let errors = "access would-block already bad-descriptor busy deadlock quota exist file-too-large \
        illegal-byte-sequence in-progress interrupted invalid io is-directory loop too-many-links \
        message-size name-too-long no-device no-entry no-lock insufficient-memory \
        insufficient-space not-directory not-empty not-recoverable unsupported no-tty \
        no-such-device overflow not-permitted pipe read-only invalid-seek text-file-busy \
        cross-device";
    let errors: Vec<String> = errors
        .split_whitespace()
        .map(|name| format!("{name:?}"))
        .collect();
    let (errors, length) = (errors.join(" "), path.len());
    let text = format!(
        r#"(component
        (import "wasi:filesystem/types@0.2.0" (instance $types
            (export "descriptor" (type $descriptor (sub resource)))
            (type $errors (enum {errors}))
            (export "error-code" (type $error (eq $errors)))
            (type $path-flags' (flags "symlink-follow"))
            (export "path-flags" (type $path-flags (eq $path-flags')))
            (type $open-flags' (flags "create" "directory" "exclusive" "truncate"))
            (export "open-flags" (type $open-flags (eq $open-flags')))
            (type $flags' (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
                "requested-write-sync" "mutate-directory"))
            (export "descriptor-flags" (type $flags (eq $flags')))
            (export "[method]descriptor.open-at" (func (param "self" (borrow $descriptor))
                (param "path-flags" $path-flags) (param "path" string)
                (param "open-flags" $open-flags) (param "flags" $flags)
                (result (result (own $descriptor) (error $error)))))
            (export "[method]descriptor.write" (func (param "self" (borrow $descriptor))
                (param "buffer" (list u8)) (param "offset" u64)
                (result (result u64 (error $error)))))))
        (alias export $types "descriptor" (type $descriptor))
        (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
            (alias outer 1 $descriptor (type $d))
            (export "descriptor" (type $descriptor (eq $d)))
            (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))
        (core module $memory
            (memory (export "memory") 16)
            (global $free (mut i32) (i32.const 65536))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free (i32.add (global.get $free) (i32.const 4096)))
                (i32.sub (global.get $free) (i32.const 4096))))
        (core instance $memory (instantiate $memory))
        (alias core export $memory "memory" (core memory $mem))
        (alias core export $memory "realloc" (core func $realloc))
        (core func $directories (canon lower (func $preopens "get-directories")
            (memory $mem) (realloc $realloc)))
        (core func $open (canon lower (func $types "[method]descriptor.open-at") (memory $mem)))
        (core func $write (canon lower (func $types "[method]descriptor.write") (memory $mem)))
        (core module $main
            (import "host" "memory" (memory 16))
            (import "host" "directories" (func $directories (param i32)))
            (import "host" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
            (import "host" "write" (func $write (param i32 i32 i32 i64 i32)))
            (data (i32.const 1024) "{path}")
            (func $digit (param $at i32) (param $digit i32)
                (i32.store8 (local.get $at)
                    (i32.add (i32.const 48) (i32.rem_u (local.get $digit) (i32.const 10)))))
            ;; A result of three digits, blanks for zeros in front.
            (func $number (param $n i32) (result i32)
                (call $digit (i32.const 130) (local.get $n))
                (i32.store8 (i32.const 129) (i32.const 32))
                (i32.store8 (i32.const 128) (i32.const 32))
                (if (i32.ge_u (local.get $n) (i32.const 10)) (then
                    (call $digit (i32.const 129) (i32.div_u (local.get $n) (i32.const 10)))))
                (if (i32.ge_u (local.get $n) (i32.const 100)) (then
                    (call $digit (i32.const 128) (i32.div_u (local.get $n) (i32.const 100)))))
                (i32.store (i32.const 0) (i32.const 0))
                (i32.store (i32.const 4) (i32.const 128))
                (i32.store (i32.const 8) (i32.const 3))
                (i32.const 0))
            (func (export "call") (param i32 i32) (result i32)
                (local $dir i32) (local $file i32)
                (call $directories (i32.const 16))
                (if (i32.eqz (i32.load (i32.const 20))) (then
                    (return (call $number (i32.const {NO_DIRECTORY})))))
                (local.set $dir (i32.load (i32.load (i32.const 16))))
                (call $open (local.get $dir) (i32.const 1) (i32.const 1024) (i32.const {length})
                    (i32.const {create}) (i32.const {flags}) (i32.const 32))
                (if (i32.load8_u (i32.const 32)) (then
                    (return (call $number (i32.load8_u (i32.const 36))))))
                (local.set $file (i32.load (i32.const 36)))
                {body}
                (call $number (i32.const {OPENED}))))
        (core instance $main (instantiate $main (with "host" (instance
            (export "memory" (memory $mem))
            (export "directories" (func $directories))
            (export "open" (func $open))
            (export "write" (func $write))))))
        (func (export "call") (param "input" string) (result (result string (error string)))
            (canon lift (core func $main "call") (memory $mem) (realloc $realloc))))"#
    );
    Guest::Wasm(wat::parse_str(text).unwrap())
}

fn writing(length: i32, offset: &str) -> String {
    format!(
        "(call $write (local.get $file) (i32.const 0) (i32.const {length}) {offset} (i32.const 64))"
    )
}

/// What it gives in a directory with `a.txt`, a directory `sub`, and links that lead out.
async fn in_workspace(guest: Guest, quota: Option<Quota>, look: impl FnOnce(&Path)) -> Value {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let inside = dir.path().join("inside");
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::write(inside.join("a.txt"), "a").unwrap();
    symlink("../secret", inside.join("link")).unwrap();
    symlink("/etc", inside.join("absolute")).unwrap();
    symlink("..", inside.join("sub/up")).unwrap();

    let code = concat!(env!("CARGO_TARGET_TMPDIR"), "/sandbox-code");
    let sandbox = Sandbox::new(SandboxConfig::new(code)).unwrap();
    let module = sandbox.load(guest).await.unwrap();
    let mut call = Call {
        input: "null".to_owned(),
        ..Call::default()
    };
    call.limits.cpu = Duration::from_secs(2);
    call.workspace = Some(Workspace {
        dir: inside.clone(),
        quota,
    });
    let got = sandbox.call(&module, call).await;
    look(&inside);
    match got {
        Ok(output) => output.value,
        Err(error) => json!(error.code()),
    }
}

const QUOTA: Quota = Quota {
    bytes: 1 << 20,
    entries: 100,
    file_bytes: 1 << 19,
};

#[tokio::test]
async fn files_of_the_workspace_are_there_and_no_others() {
    for (path, expected) in [
        ("a.txt", OPENED),
        ("sub/../a.txt", OPENED),
        ("sub/up/a.txt", OPENED),
        ("../secret", NOT_PERMITTED),
        ("sub/../../secret", NOT_PERMITTED),
        ("sub/up/../secret", NOT_PERMITTED),
        ("/etc/passwd", NOT_PERMITTED),
        ("absolute/passwd", NOT_PERMITTED),
        ("link", NOT_PERMITTED),
        ("..", NOT_PERMITTED),
    ] {
        let got = in_workspace(opening(path, 0, READ, ""), None, |_| {}).await;
        assert_eq!(got, json!(expected), "{path}");
        let got = in_workspace(opening(path, 0, READ, ""), Some(QUOTA), |_| {}).await;
        assert_eq!(got, json!(expected), "{path}, with a quota");
    }
}

#[tokio::test]
async fn what_may_only_be_read_cannot_be_written() {
    let writes = writing(3, "(i64.const 0)");
    for (path, create) in [("a.txt", 0), ("new.txt", CREATE)] {
        let guest = opening(path, create, READ | WRITE, &writes);
        let got = in_workspace(guest, None, |dir| {
            assert_eq!(fs::read(dir.join("a.txt")).unwrap(), b"a");
            assert!(!dir.join("new.txt").exists());
        });
        assert_ne!(got.await, json!(OPENED), "{path}");
    }
    let guest = opening("new.txt", CREATE, READ | WRITE, &writes);
    let got = in_workspace(guest, Some(QUOTA), |dir| {
        assert_eq!(fs::read(dir.join("new.txt")).unwrap().len(), 3);
    });
    assert_eq!(got.await, json!(OPENED));
}

#[tokio::test]
async fn a_workspace_holds_so_much_and_no_more() {
    let append = format!(
        "(local.set $dir (i32.const 0)) (loop {} (local.set $dir (i32.add (local.get $dir) (i32.const 4096))) (br 0))",
        writing(4096, "(i64.extend_i32_u (local.get $dir))")
    );
    let sparse = writing(1, "(i64.const 1000000000000)");
    for body in [append, sparse] {
        let guest = opening("new.txt", CREATE, READ | WRITE, &body);
        let got = in_workspace(guest, Some(QUOTA), |_| {}).await;
        assert_eq!(got, json!("files_exceeded"));
    }
}

#[tokio::test]
async fn open_files_are_counted() {
    let again = "(loop (call $open (local.get $dir) (i32.const 1) (i32.const 1024) (i32.const 5)
        (i32.const 0) (i32.const 1) (i32.const 32)) (br 0))";
    let got = in_workspace(opening("a.txt", 0, READ, again), None, |_| {}).await;
    assert_eq!(got, json!("resources_exceeded"));
}

#[tokio::test]
async fn without_a_workspace_there_is_no_directory() {
    let code = concat!(env!("CARGO_TARGET_TMPDIR"), "/sandbox-code");
    let sandbox = Sandbox::new(SandboxConfig::new(code)).unwrap();
    let module = sandbox.load(opening("a.txt", 0, READ, "")).await.unwrap();
    let call = Call {
        input: "null".to_owned(),
        ..Call::default()
    };
    let output = sandbox.call(&module, call).await.unwrap();
    assert_eq!(output.value, json!(NO_DIRECTORY));
}
