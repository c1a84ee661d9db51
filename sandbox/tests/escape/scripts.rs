//! Attempts of JavaScript and Python.

use nexus_sandbox::{BoxFuture, HttpBroker, HttpRequest, HttpResponse};
use serde_json::json;

use crate::support::{javascript, python};
use crate::{Attempt, Gets};

/// Answers everything.
struct Anything;

impl HttpBroker for Anything {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, String>> {
        let response = HttpResponse {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        };
        Box::pin(async { Ok(response) })
    }
}

/// Never answers.
struct Silence;

impl HttpBroker for Silence {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, String>> {
        Box::pin(std::future::pending())
    }
}

pub(crate) fn attempts() -> Vec<Attempt> {
    [in_javascript(), in_python()].concat()
}

fn in_javascript() -> Vec<Attempt> {
    let ends = Gets::Ends;
    let row = |name, source, gets| Attempt::new(name, javascript(source), gets);
    let request = "http.request('http://example.com').status";
    vec![
        row("an endless loop", "for (;;);", ends("cpu_exceeded")),
        row(
            "a loop that catches",
            "for (;;) try { null.x } catch {}",
            ends("cpu_exceeded"),
        ),
        row(
            "jobs without end",
            "(async () => { for (;;) await null })()",
            ends("cpu_exceeded"),
        ),
        row(
            "a promise that stays open",
            "new Promise(() => 0)",
            ends("tool_error"),
        ),
        row(
            "a pattern that takes for ever",
            "/^(a+)+$/.test('a'.repeat(64) + 'b')",
            ends("cpu_exceeded"),
        ),
        row(
            "a large sort",
            "for (;;) new Array(1e4).fill(1).map((_, i) => -i).sort()",
            ends("cpu_exceeded"),
        ),
        row(
            "arrays without end",
            "const a = []; for (;;) a.push(new Uint8Array(1e6))",
            ends("memory_exceeded"),
        ),
        row(
            "one large array",
            "new Uint8Array(2e9)",
            ends("memory_exceeded"),
        ),
        row(
            "a string that doubles",
            "let s = 'x'; for (;;) s += s",
            ends("tool_error"),
        ),
        row(
            "recursion",
            "const f = () => f() + 1; f()",
            ends("stack_overflow"),
        ),
        row(
            "deep recursion of JSON",
            "let a = []; for (let i = 0; i < 2e4; i++) a = [a]; a",
            ends("stack_overflow"),
        ),
        row("a large result", "'x'.repeat(2e6)", ends("output_exceeded")),
        row(
            "a large error",
            "throw 'x'.repeat(2e6)",
            ends("output_exceeded"),
        ),
        row(
            "a deep result",
            "'['.repeat(1) + ''; JSON.stringify = () => '['.repeat(1e5); 1",
            ends("bad_output"),
        ),
        row(
            "a result that is not JSON",
            "JSON.stringify = () => 'evil'; 1",
            ends("bad_output"),
        ),
        row(
            "a result without end",
            "const a = {}; a.a = a; a",
            ends("tool_error"),
        ),
        row(
            "a result that throws",
            "({ toJSON() { throw 1 } })",
            ends("tool_error"),
        ),
        row(
            "a number too large for JSON",
            "10n ** 100n",
            ends("tool_error"),
        ),
        row(
            "lines without end",
            "for (;;) console.log('x'.repeat(1000))",
            ends("cpu_exceeded"),
        ),
        row("the files of Node.js", "require('fs')", ends("tool_error")),
        row("the files of the engine", "import('std')", ends("trap")),
        row(
            "a module of the host",
            "import('nexus:tool/http@1.0.0').then((m) => m.default.send({ method: 'GET', url: 'http://e.com', headers: [], body: [] }))",
            ends("tool_error"),
        ),
        row(
            "what hosts leave lying about",
            "[typeof process, typeof Deno, typeof std, typeof os, typeof Worker, typeof fetch,
              typeof WebAssembly, typeof wit]",
            Gets::Only(json!(vec!["undefined"; 8])),
        ),
        row(
            "the global object by another way",
            "typeof (new Function('return this'))().process",
            Gets::Only(json!("undefined")),
        ),
        row(
            "the bindings",
            "__cqjs.asyncExports.settled = null; __cqjs = 1; typeof __cqjs",
            Gets::Only(json!("object")),
        ),
        row("a network that was not given", request, ends("tool_error")),
        row("a request that is never answered", request, ends("timeout"))
            .with_network(Silence)
            .hurried(),
        row(
            "requests without end",
            "for (;;) http.request('http://example.com')",
            ends("requests_exceeded"),
        )
        .with_network(Anything),
        row(
            "what another call has left",
            "globalThis.left = (globalThis.left ?? 0) + 1",
            Gets::Only(json!(1)),
        ),
        row(
            "waiting without end",
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
            ends("tool_error"),
        ),
    ]
}

fn in_python() -> Vec<Attempt> {
    let ends = Gets::Ends;
    let row = |name, source, gets| {
        let attempt = Attempt::new(name, python(source), gets);
        match attempt.gets {
            Gets::Ends("cpu_exceeded") => attempt,
            _ => attempt,
        }
    };
    vec![
        row("an endless loop", "while True: pass", ends("cpu_exceeded")),
        row(
            "a loop that catches all",
            "while True:\n  try: 1 / 0\n  except BaseException: pass",
            ends("cpu_exceeded"),
        ),
        row("a large power", "10 ** (10 ** 8) % 7", ends("cpu_exceeded")),
        row(
            "a pattern that takes for ever",
            "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
            ends("cpu_exceeded"),
        ),
        row(
            "memory",
            "a = []\nwhile True: a.append(bytearray(1000000))",
            ends("memory_exceeded"),
        ),
        row(
            "memory at once",
            "bytearray(10 ** 9)",
            ends("memory_exceeded"),
        ),
        row(
            "recursion",
            "def f(): return f() + 1\nf()",
            ends("tool_error"),
        ),
        row(
            "recursion of the interpreter",
            "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return f() + 1\nf()",
            ends("memory_exceeded"),
        ),
        row(
            "output",
            "while True: print('x' * 10000)",
            ends("output_exceeded"),
        ),
        row("a large result", "'x' * 2000000", ends("output_exceeded")),
        row(
            "a result that is not JSON",
            "float('nan')",
            ends("tool_error"),
        ),
        row("a result that has no form", "object()", ends("tool_error")),
        row("sleep", "import time\ntime.sleep(3600)", ends("timeout")).hurried(),
        row(
            "a file of the host",
            "open('/etc/passwd').read()",
            ends("tool_error"),
        ),
        row(
            "a file of its own",
            "open('/tmp/x', 'w')",
            ends("tool_error"),
        ),
        row(
            "a file by another way",
            "import os\nos.open('../../etc/passwd', 0)",
            ends("tool_error"),
        ),
        row(
            "a directory",
            "import os\nos.listdir('/')",
            ends("tool_error"),
        ),
        row(
            "the environment",
            "import os\ndict(os.environ)",
            Gets::Only(json!({})),
        ),
        row(
            "a process",
            "import subprocess\nsubprocess.run(['id'])",
            ends("tool_error"),
        ),
        row("a shell", "import os\nos.system('id')", ends("tool_error")),
        row("a fork", "import os\nos.fork()", ends("tool_error")),
        row(
            "threads",
            "import threading\nfor _ in range(100): threading.Thread(target=print).start()",
            ends("tool_error"),
        ),
        row(
            "native code",
            "import ctypes\nctypes.CDLL('libc.so.6')",
            ends("tool_error"),
        ),
        row(
            "a connection",
            "import socket\nsocket.create_connection(('127.0.0.1', 22))",
            ends("tool_error"),
        ),
        row(
            "a request",
            "from urllib.request import urlopen\nurlopen('http://169.254.169.254/')",
            ends("tool_error"),
        ),
        row("ending early", "import os\nos._exit(0)", ends("tool_error")),
        row(
            "ending with an error",
            "import sys\nsys.exit(3)",
            ends("tool_error"),
        ),
        row(
            "an answer in the runner's name",
            "print('\\x1e[true, 1]')\n2",
            Gets::Only(json!(2)),
        ),
        row(
            "its own runner",
            "import sys\nsys.stdin.read()",
            Gets::Only(json!("")),
        ),
        row(
            "a signal",
            "import signal, os\nsignal.raise_signal(9)",
            ends("trap"),
        ),
    ]
}
