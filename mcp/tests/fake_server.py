"""A server of tools that speaks MCP over standard input and output, well or badly.

Each tool is a way to behave. Arguments of the program: `modern` speaks the revision of 2026 instead of
the one with a handshake, `mute` says nothing at all, `stubborn` does not end when it is asked to,
`v2` tells of other tools than before.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

WAYS = sys.argv[1:]
lock = threading.Lock()
cancelled = []
answers = {}
counts = {}


def send(message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def raw(text):
    with lock:
        sys.stdout.write(text)
        sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def ask(method, params, number):
    send({"id": f"s{number}", "method": method, "params": params})
    while f"s{number}" not in answers:
        time.sleep(0.005)
    answer = answers[f"s{number}"]
    return answer.get("error", {}).get("code") or answer["result"]


def call(name, arguments, meta):
    counts[name] = counts.get(name, 0) + 1
    if name == "echo":
        return {"structuredContent": arguments, "content": []}
    if name == "text":
        return text(arguments.get("text", ""))
    if name == "meta":
        return {"structuredContent": meta, "content": []}
    if name == "env":
        return {"structuredContent": dict(os.environ), "content": []}
    if name == "pid":
        return {"structuredContent": {"pid": os.getpid(), "calls": counts["pid"]}, "content": []}
    if name == "fork":
        child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        return {"structuredContent": {"pid": os.getpid(), "child": child.pid}, "content": []}
    if name == "fail":
        return {"isError": True, **text("there is no room")}
    if name == "silent":
        time.sleep(600)
    if name == "slow":
        time.sleep(arguments.get("s", 0.3))
        return text("late")
    if name == "die":
        os._exit(3)
    if name == "huge":
        return text("x" * 3_000_000)
    if name == "endless":
        while True:
            raw("y" * 65536)
    if name == "flood":
        while True:
            raw('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\n' * 500)
    if name == "garbage":
        raw("this is no JSON\n{\"half\": \n[1,2\n\x00\x01\n{\"jsonrpc\":\"2.0\",\"id\":77777,\"result\":{}}\n{}\n")
        return text("after all")
    if name == "stderr":
        for _ in range(2000):
            sys.stderr.write("a secret in a log " * 50 + "\n")
        return text("said")
    if name == "ask":
        message = {"messages": [{"role": "user", "content": {"type": "text", "text": "pay me"}}], "maxTokens": 9}
        schema = {"type": "object", "properties": {"password": {"type": "string"}}}
        return {
            "content": [],
            "structuredContent": {
                "sampling": ask("sampling/createMessage", message, 1),
                "roots": ask("roots/list", {}, 2),
                "elicitation": ask("elicitation/create", {"message": "password?", "requestedSchema": schema}, 3),
            },
        }
    if name == "cancelled":
        return {"structuredContent": {"ids": len(cancelled)}, "content": []}
    if name == "input":
        return {"resultType": "input_required", "inputRequests": {}, "requestState": "x"}
    if name == "wrong":
        return {"rows": 1}
    raise KeyError(name)


TOOLS = ["echo", "text", "meta", "env", "pid", "fork", "fail", "silent", "slow", "die", "huge", "endless",
         "flood", "garbage", "stderr", "ask", "cancelled", "input", "wrong"]


def describe(name):
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    description = f"Does {name}."
    if "v2" in WAYS and name == "text":
        description = "Does text, otherwise."
    return {"name": name, "description": description, "inputSchema": schema, "annotations": {"idempotentHint": True}}


def work(request):
    params = request.get("params") or {}
    try:
        result = call(params["name"], params.get("arguments") or {}, params.get("_meta") or {})
        if "modern" in WAYS:
            result.setdefault("resultType", "complete")
        send({"id": request["id"], "result": result})
    except KeyError:
        send({"id": request["id"], "error": {"code": -32602, "message": "unknown tool"}})


def handle(request):
    method, number = request.get("method"), request.get("id")
    if method is None:
        answers[number] = request
    elif method == "initialize" and "modern" not in WAYS:
        info = {"name": "fake", "version": "2.1" if "v2" not in WAYS else "2.2"}
        send({"id": number, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}})
    elif method == "server/discover" and "modern" in WAYS:
        info = {"name": "fake", "version": "3"}
        send({"id": number, "result": {"resultType": "complete", "supportedVersions": ["2026-07-28"],
                                       "capabilities": {"tools": {}},
                                       "_meta": {"io.modelcontextprotocol/serverInfo": info},
                                       "ttlMs": 0, "cacheScope": "private"}})
    elif method == "tools/list":
        # In two pages.
        half = len(TOOLS) // 2
        first = (request.get("params") or {}).get("cursor") is None
        page = {"tools": [describe(name) for name in (TOOLS[:half] if first else TOOLS[half:])]}
        if first:
            page["nextCursor"] = "more"
        if "modern" in WAYS:
            page.update(resultType="complete", ttlMs=0, cacheScope="private")
        send({"id": number, "result": page})
    elif method == "tools/call":
        threading.Thread(target=work, args=(request,), daemon=True).start()
    elif method == "notifications/cancelled":
        cancelled.append(request["params"])
    elif number is not None:
        send({"id": number, "error": {"code": -32601, "message": f"no {method}"}})


if "stubborn" in WAYS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "mute" in WAYS:
    time.sleep(600)
for line in sys.stdin:
    handle(json.loads(line))
if "stubborn" in WAYS:
    time.sleep(600)
