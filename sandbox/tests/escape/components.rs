//! Attempts of components: above all, lies about where their strings are.

use nexus_sandbox::Guest;

use crate::support::wat;
use crate::{Attempt, Gets};

/// A tool whose core has this body for `call`, which gives the address of its result.
fn tool(body: &str) -> Guest {
    tool_with("(i32.const 1024)", body)
}

/// The same, with a body for `realloc`.
fn tool_with(realloc: &str, body: &str) -> Guest {
    wat(&format!(
        r#"(component
        (import "nexus:tool/log@1.0.0" (instance $log (export "write" (func (param "line" string)))))
        (core module $memory
            (memory (export "memory") 16)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
        (core instance $memory (instantiate $memory))
        (core func $write (canon lower (func $log "write") (memory (core memory $memory "memory"))))
        (type $resource (resource (rep i32)))
        (core func $new (canon resource.new $resource))
        (core module $main
            (import "memory" "memory" (memory 16))
            (import "log" "write" (func $write (param i32 i32)))
            (import "log" "new" (func $new (param i32) (result i32)))
            ;; A result without an error: its text and its length.
            (func $result (param $text i32) (param $length i32) (result i32)
                (i32.store (i32.const 0) (i32.const 0))
                (i32.store (i32.const 4) (local.get $text))
                (i32.store (i32.const 8) (local.get $length))
                (i32.const 0))
            (func (export "call") (param i32 i32) (result i32) {body}))
        (core instance $main (instantiate $main
            (with "memory" (instance $memory))
            (with "log" (instance
                (export "write" (func $write))
                (export "new" (func $new))))))
        (func (export "call") (param "input" string) (result (result string (error string)))
            (canon lift (core func $main "call")
                (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))"#
    ))
}

pub(crate) fn attempts() -> Vec<Attempt> {
    let (ends, refused) = (Gets::Ends, Gets::Refused);
    let row = |name, body, gets| Attempt::new(name, tool(body), gets);
    let component = |name, text: String, gets| Attempt::new(name, wat(&text), gets);
    vec![
        row(
            "an endless loop",
            "(loop (br 0)) unreachable",
            ends("cpu_exceeded"),
        ),
        row(
            "log lines without end",
            "(loop (call $write (i32.const 0) (i32.const 65536)) (br 0)) unreachable",
            ends("cpu_exceeded"),
        ),
        row(
            "a log line from beyond its memory",
            "(call $write (i32.const 0) (i32.const 0x7fffffff)) unreachable",
            ends("trap"),
        ),
        row(
            "a result beyond its memory",
            "(call $result (i32.const 1000000) (i32.const 1000000))",
            ends("trap"),
        ),
        row(
            "a result that is longer than all memory",
            "(call $result (i32.const 0) (i32.const -1))",
            ends("trap"),
        ),
        row("a result at no address", "(i32.const -4)", ends("trap")),
        row("a result at an odd address", "(i32.const 1)", ends("trap")),
        row(
            "a result of no case",
            "(drop (call $result (i32.const 0) (i32.const 0)))
             (i32.store (i32.const 0) (i32.const 7)) (i32.const 0)",
            ends("trap"),
        ),
        row(
            "a result that is not UTF-8",
            "(i32.store (i32.const 64) (i32.const 0xfffefdfc))
             (call $result (i32.const 64) (i32.const 4))",
            ends("trap"),
        ),
        row(
            "a result of zeros",
            "(call $result (i32.const 64) (i32.const 4))",
            ends("bad_output"),
        ),
        row(
            "a result that is too long",
            "(drop (memory.grow (i32.const 200)))
             (memory.fill (i32.const 64) (i32.const 32) (i32.const 8000000))
             (call $result (i32.const 64) (i32.const 8000000))",
            ends("output_exceeded"),
        ),
        row(
            "a result that the host would copy for long",
            "(drop (memory.grow (i32.const 600)))
             (memory.fill (i32.const 64) (i32.const 32) (i32.const 30000000))
             (call $result (i32.const 64) (i32.const 30000000))",
            ends("output_exceeded"),
        ),
        row(
            "memory without end",
            "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable",
            ends("memory_exceeded"),
        ),
        Attempt::new(
            "an argument placed beyond its memory",
            tool_with("(i32.const 0x7ffffff0)", "unreachable"),
            ends("trap"),
        ),
        Attempt::new(
            "placing an argument without end",
            tool_with("(loop (br 0)) unreachable", "unreachable"),
            ends("cpu_exceeded"),
        ),
        component(
            "an empty component",
            "(component)".to_owned(),
            refused("not_a_tool"),
        ),
        component(
            "a call of another type",
            r#"(component (core module $m (func (export "call") (result i32) (i32.const 0)))
               (core instance $i (instantiate $m))
               (func (export "call") (result u32) (canon lift (core func $i "call"))))"#
                .to_owned(),
            refused("not_a_tool"),
        ),
        component(
            "an interface of another host",
            r#"(component (import "evil:host/shell@1.0.0"
                 (instance (export "run" (func (param "command" string))))))"#
                .to_owned(),
            refused("not_a_tool"),
        ),
        component(
            "an import of another type",
            r#"(component (import "nexus:tool/log@1.0.0"
                 (instance (export "write" (func (param "line" u64) (result u64))))))"#
                .to_owned(),
            refused("not_a_tool"),
        ),
        component(
            "streams",
            r#"(component (type $s (stream u8)) (core func (canon stream.new $s)))"#.to_owned(),
            refused("malformed"),
        ),
        row(
            "resources that the host keeps",
            "(loop (drop (call $new (i32.const 1))) (br 0)) unreachable",
            ends("resources_exceeded"),
        ),
        component(
            "too many modules",
            format!("(component {})", "(core module)".repeat(201)),
            refused("too_large"),
        ),
        component(
            "too many instances",
            format!(
                "(component (core module $m (memory 1)) {})",
                "(core instance (instantiate $m))".repeat(201)
            ),
            refused("too_large"),
        ),
        Attempt::new(
            "components in components",
            nested(300),
            refused("too_large"),
        ),
    ]
}

/// Components, each within the next; the text form stops at some depth.
fn nested(depth: usize) -> Guest {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    const COMPONENT: u8 = 4;
    let component = (1..depth).fold(HEADER.to_vec(), |inner, _| {
        let length = u32::try_from(inner.len()).unwrap_or(u32::MAX);
        let leb = |at: u32| ((length >> (7 * at)) & 0x7f) as u8 | if at < 4 { 0x80 } else { 0 };
        let length = [leb(0), leb(1), leb(2), leb(3), leb(4)];
        [HEADER, &[COMPONENT], &length, &inner].concat()
    });
    Guest::Wasm(component)
}
