"""Serves a tool over plain NATS: counts the words of a text.

Needs only `pip install nats-py`. Usage:

    nexus tools register word_count.toml
    python tool_worker.py nats://user:password@127.0.0.1:4222 word_count [tenant]

Start more of them: each call goes to one. `nexus endpoints` prints the address of the NATS server.
"""

import asyncio
import json
import os
import sys

import nats


def word_count(arguments: dict) -> dict:
    return {"words": len(arguments["text"].split())}


async def main(url: str, tool: str, tenant: str = "default") -> None:
    nc = await nats.connect(url, nkeys_seed=os.environ.get("NEXUS_NKEY_FILE"))

    async def on_call(msg):
        # A tool that changes something remembers `idempotency-key`: the same call comes with the
        # same key, however often it is tried.
        try:
            answer = {"output": word_count(json.loads(msg.data))}
        except (KeyError, AttributeError, ValueError) as error:
            # The model is told, and may correct itself.
            answer = {"error": {"code": "bad_arguments", "message": f"text: a string is needed ({error})"}}
        await msg.respond(json.dumps(answer).encode())

    # One queue group: of many workers one gets the call.
    await nc.subscribe(f"nexus.{tenant}.tool.{tool}", queue="workers", cb=on_call)
    print(f"serving {tool} for {tenant}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
