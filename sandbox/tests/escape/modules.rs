//! Attempts of WASI commands, and of binaries that are none.

use nexus_sandbox::Guest;
use serde_json::json;

use crate::support::wat;
use crate::{Attempt, Gets};

pub(crate) fn attempts() -> Vec<Attempt> {
    [computing(), memory(), output(), wasi(), loading()].concat()
}

/// A command whose `_start` has this body, with what it may need around it.
fn command(body: &str) -> Guest {
    wat(&format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read"
            (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get"
            (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get"
            (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get"
            (func $args_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept"
            (func $sock_accept (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get"
            (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $clock_time_get (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 2)
        (table $table 4 funcref)
        (type $nothing (func))
        (type $number (func (param i64) (result i64)))
        (data (i32.const 1024) "/etc/passwd")
        (data (i32.const 2048) "{{\"a\": 1}} and more")
        (data (i32.const 3072) "\"\ff\fe\"")
        (func $write (param $fd i32) (param $from i32) (param $length i32)
            (i32.store (i32.const 0) (local.get $from))
            (i32.store (i32.const 4) (local.get $length))
            (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
        ;; Writes a number below a hundred.
        (func $say (param $number i32)
            (if (i32.ge_u (local.get $number) (i32.const 10)) (then
                (i32.store8 (i32.const 16)
                    (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 10))))
                (call $write (i32.const 1) (i32.const 16) (i32.const 1))))
            (i32.store8 (i32.const 16)
                (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
            (call $write (i32.const 1) (i32.const 16) (i32.const 1)))
        (func $recurse (param $n i64) (result i64)
            (i64.add (i64.const 1) (call $recurse (i64.add (i64.const 1) (local.get $n)))))
        (func $number (type $number) (local.get 0))
        (elem (table $table) (i32.const 1) func $number)
        (func $main (export "_start") {body}))"#
    ))
}

fn row(name: &'static str, body: &str, gets: Gets) -> Attempt {
    Attempt::new(name, command(body), gets)
}

fn computing() -> Vec<Attempt> {
    let ends = Gets::Ends;
    vec![
        row("an endless loop", "(loop (br 0))", ends("cpu_exceeded")),
        row(
            "an endless loop of host calls",
            "(loop (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8))) (br 0))",
            ends("cpu_exceeded"),
        ),
        row(
            "an endless loop that yields",
            "(loop (drop (call $sched_yield)) (br 0))",
            ends("cpu_exceeded"),
        ),
        row(
            "an endless loop of large fills",
            "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br 0))",
            ends("cpu_exceeded"),
        ),
        row(
            "recursion without end",
            "(drop (call $recurse (i64.const 0)))",
            ends("stack_overflow"),
        ),
        row("giving up", "unreachable", ends("trap")),
        row(
            "division by zero",
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            ends("trap"),
        ),
        row(
            "a call of nothing",
            "(call_indirect (type $nothing) (i32.const 0))",
            ends("trap"),
        ),
        row(
            "a call beyond the table",
            "(call_indirect (type $nothing) (i32.const 100000))",
            ends("trap"),
        ),
        row(
            "a call with another signature",
            "(call_indirect (type $nothing) (i32.const 1))",
            ends("trap"),
        ),
        Attempt::new(
            "an endless loop before the start",
            wat(r#"(module (func $f (loop (br 0))) (start $f) (func (export "_start")))"#),
            ends("cpu_exceeded"),
        ),
        row(
            "sleeping for an hour",
            // A relative time of the monotonic clock: its tag, its clock, its nanoseconds.
            "(i32.store8 (i32.const 72) (i32.const 0))
             (i32.store (i32.const 80) (i32.const 1))
             (i64.store (i32.const 88) (i64.const 3600000000000))
             (drop (call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 8)))",
            ends("timeout"),
        )
        .hurried(),
        row(
            "ending with an error",
            "(call $proc_exit (i32.const 3))",
            ends("tool_error"),
        ),
    ]
}

fn memory() -> Vec<Attempt> {
    let ends = Gets::Ends;
    vec![
        row(
            "memory, a page at a time",
            "(loop (drop (memory.grow (i32.const 1))) (br 0))",
            ends("memory_exceeded"),
        ),
        row(
            "all memory at once",
            "(drop (memory.grow (i32.const 65000)))",
            ends("memory_exceeded"),
        ),
        Attempt::new(
            "much memory from the beginning",
            wat(r#"(module (memory 2000) (func (export "_start")))"#),
            ends("memory_exceeded"),
        ),
        Attempt::new(
            "more memory than the pool has",
            wat(r#"(module (memory 65536) (func (export "_start")))"#),
            Gets::Refused("malformed"),
        ),
        Attempt::new(
            "many memories",
            wat(&format!(
                r#"(module {} (func (export "_start")))"#,
                "(memory 1)".repeat(50)
            )),
            Gets::Refused("malformed"),
        ),
        row(
            "a table that grows",
            "(loop (drop (table.grow $table (ref.null func) (i32.const 1000))) (br 0))",
            ends("table_exceeded"),
        ),
        Attempt::new(
            "a large table from the beginning",
            wat(r#"(module (table 60000 funcref) (func (export "_start")))"#),
            ends("table_exceeded"),
        ),
        row(
            "reading beyond its memory",
            "(drop (i32.load (i32.const 0x7fffffff)))",
            ends("trap"),
        ),
        row(
            "writing below its memory",
            "(i32.store (i32.const -8) (i32.const 1))",
            ends("trap"),
        ),
        row(
            "copying from beyond its memory",
            "(memory.copy (i32.const 0) (i32.const 100000) (i32.const 1000000))",
            ends("trap"),
        ),
    ]
}

fn output() -> Vec<Attempt> {
    let ends = Gets::Ends;
    vec![
        row(
            "output without end",
            "(loop (call $write (i32.const 1) (i32.const 0) (i32.const 65536)) (br 0))",
            ends("output_exceeded"),
        ),
        row(
            "standard error without end",
            "(loop (call $write (i32.const 2) (i32.const 0) (i32.const 65536)) (br 0))",
            ends("cpu_exceeded"),
        ),
        row("no output", "", ends("bad_output")),
        row(
            "more than JSON",
            "(call $write (i32.const 1) (i32.const 2048) (i32.const 17))",
            ends("bad_output"),
        ),
        row(
            "what is not UTF-8",
            "(call $write (i32.const 1) (i32.const 3072) (i32.const 4))",
            ends("tool_error"),
        ),
        row(
            "JSON that is deep",
            "(memory.fill (i32.const 4096) (i32.const 91) (i32.const 60000))
             (call $write (i32.const 1) (i32.const 4096) (i32.const 60000))",
            ends("bad_output"),
        ),
        row(
            "a number that is no number",
            "(i32.store (i32.const 512) (i32.const 0x004e614e))
             (call $write (i32.const 1) (i32.const 512) (i32.const 3))",
            ends("bad_output"),
        ),
        row(
            "a vector from beyond its memory",
            "(call $say (call $fd_write (i32.const 1) (i32.const -16) (i32.const 8) (i32.const 0)))",
            ends("trap"),
        ),
    ]
}

fn wasi() -> Vec<Attempt> {
    // The codes of errors: 8 is a descriptor that is not there.
    let only = |value: i32| Gets::Only(json!(value));
    let open = |fd: i32| {
        format!(
            "(call $say (call $path_open (i32.const {fd}) (i32.const 1) (i32.const 1024)
                (i32.const 11) (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0)
                (i32.const 8)))"
        )
    };
    vec![
        row("a file below a directory", &open(3), only(8)),
        row("a file below another", &open(4), only(8)),
        row(
            "a directory that is open",
            "(call $say (call $fd_prestat_get (i32.const 3) (i32.const 8)))",
            only(8),
        ),
        row(
            "a descriptor of the host",
            "(call $say (call $fd_read (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 8)))",
            only(8),
        ),
        row(
            "the environment",
            "(drop (call $environ_sizes_get (i32.const 8) (i32.const 12)))
             (call $say (i32.load (i32.const 8)))",
            only(0),
        ),
        row(
            "the arguments",
            "(drop (call $args_sizes_get (i32.const 8) (i32.const 12)))
             (call $say (i32.load (i32.const 8)))",
            only(1),
        ),
        row(
            "a connection",
            "(call $say (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 8)))",
            only(8),
        ),
        row(
            "random numbers into what is not its memory",
            "(call $say (call $random_get (i32.const 0) (i32.const 2000000000)))",
            ends_in_trap(),
        ),
    ]
}

fn ends_in_trap() -> Gets {
    Gets::Ends("trap")
}

fn loading() -> Vec<Attempt> {
    let refused = Gets::Refused;
    let bytes = |name, bytes: &[u8], gets| Attempt::new(name, Guest::Wasm(bytes.to_vec()), gets);
    let module = |name, text: String, gets| Attempt::new(name, wat(&text), gets);
    let importing = |from: &str, what: &str| {
        format!(
            r#"(module (import "{from}" "{what}" (func (param i32) (result i32)))
            (func (export "_start")))"#
        )
    };
    let locals = |count: usize| format!("(func (local {}))", "i64 ".repeat(count));
    vec![
        bytes("nothing", b"", refused("malformed")),
        bytes("a script", b"#!/bin/sh\nid", refused("malformed")),
        bytes(
            "a program",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0",
            refused("malformed"),
        ),
        bytes("a header", b"\0asm\x01\0\0\0", refused("not_a_tool")),
        bytes("half a header", b"\0asm\x01", refused("malformed")),
        bytes("another version", b"\0asm\x02\0\0\0", refused("malformed")),
        bytes(
            "a section that ends beyond",
            b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f",
            refused("malformed"),
        ),
        bytes(
            "a section that is not there",
            b"\0asm\x01\0\0\0\x7f\x01\0",
            refused("malformed"),
        ),
        bytes(
            "a component of nothing",
            b"\0asm\x0d\0\x01\0",
            refused("not_a_tool"),
        ),
        module(
            "the host's shell",
            importing("env", "system"),
            refused("not_a_tool"),
        ),
        module(
            "the host's libraries",
            importing("env", "dlopen"),
            refused("not_a_tool"),
        ),
        module(
            "threads",
            importing("wasi", "thread-spawn"),
            refused("not_a_tool"),
        ),
        module(
            "sockets of another runtime",
            importing("wasi_snapshot_preview1", "sock_open"),
            refused("not_a_tool"),
        ),
        module(
            "an import with another type",
            importing("wasi_snapshot_preview1", "proc_exit"),
            refused("not_a_tool"),
        ),
        module(
            "shared memory",
            r#"(module (memory 1 2 shared) (func (export "_start")))"#.to_owned(),
            refused("malformed"),
        ),
        module(
            "a 64-bit memory",
            r#"(module (memory i64 1) (func (export "_start")))"#.to_owned(),
            refused("malformed"),
        ),
        module(
            "garbage collection",
            r#"(module (type (struct (field i32))) (func (export "_start")))"#.to_owned(),
            refused("malformed"),
        ),
        module(
            "no start",
            "(module (memory 1))".to_owned(),
            refused("not_a_tool"),
        ),
        module(
            "a start with parameters",
            r#"(module (func (export "_start") (param i32)))"#.to_owned(),
            refused("not_a_tool"),
        ),
        module(
            "a function of too many locals",
            format!("(module {})", locals(20_000)),
            refused("too_large"),
        ),
        module(
            "many functions of many locals",
            format!("(module {})", locals(9_000).repeat(120)),
            refused("too_large"),
        ),
        module(
            "a function that is too long",
            format!("(module (func {}))", "nop ".repeat(300_000)),
            refused("too_large"),
        ),
        module(
            "too many functions",
            format!("(module {})", "(func)".repeat(100_001)),
            refused("too_large"),
        ),
        bytes(
            "too many bytes",
            &vec![0; (32 << 20) + 1],
            refused("malformed"),
        ),
        Attempt::new(
            "too many bytes behind a header",
            Guest::Wasm([&b"\0asm\x01\0\0\0"[..], &vec![0; 32 << 20]].concat()),
            refused("too_large"),
        ),
    ]
}
