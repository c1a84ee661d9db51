"""Starts an agent run over plain NATS and follows it to its end.

Needs only `pip install nats-py`. Usage:

    python client.py nats://user:password@127.0.0.1:4222 "What is 6*7?" [tenant]

`nexus endpoints` prints the address of the NATS server that `nexus up` started. A tenant that has an
account of its own there sets NEXUS_NKEY_FILE to the file with its seed (`pip install nats-py[nkeys]`).
"""

import asyncio
import json
import os
import sys
import uuid

import nats

TERMINAL = {"nexus.run.completed.v1", "nexus.run.failed.v1", "nexus.run.cancelled.v1"}


async def main(url: str, text: str, tenant: str = "default") -> int:
    nc = await nats.connect(url, nkeys_seed=os.environ.get("NEXUS_NKEY_FILE"))
    run_id = str(uuid.uuid4())
    ended = asyncio.get_running_loop().create_future()

    async def on_commit(msg):
        # One message is one commit: a CloudEvents batch. Its sequence is every reader's cursor.
        seq = int(msg.headers["Nats-Sequence"])
        for event in json.loads(msg.data):
            print(json.dumps({"seq": seq, "type": event["type"], "data": event["data"]}), flush=True)
            if event["type"] in TERMINAL and not ended.done():
                ended.set_result(event["type"])

    async def on_delta(msg):
        print(json.dumps({"delta": json.loads(msg.data)}), flush=True)

    reply_to = f"nexus.{tenant}.reply.{uuid.uuid4().hex}"
    replies = await nc.subscribe(reply_to)
    await nc.subscribe(f"nexus.{tenant}.log.run.{run_id}", cb=on_commit)
    await nc.subscribe(f"nexus.{tenant}.live.run.{run_id}", cb=on_delta)
    await nc.flush()

    # A command is a CloudEvent in binary mode: the body is the data alone. JetStream's
    # acknowledgement means that the command is stored; what was decided goes to `nexus-reply-to`.
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid4()),
        "ce-type": "nexus.run.start.v1",
        "ce-source": "example/python",
        "nexus-actor": json.dumps({"user": "python"}),
        "nexus-reply-to": reply_to,
    }
    body = json.dumps({"input": text, "run_id": run_id}).encode()
    ack = await nc.jetstream().publish(f"nexus.{tenant}.cmd.run.start", body, headers=headers)
    print(json.dumps({"stored": ack.seq}), flush=True)

    outcome = json.loads((await replies.next_msg(timeout=10)).data)
    print(json.dumps({"outcome": outcome}), flush=True)
    if "code" in outcome:  # A problem: the command was refused.
        await nc.close()
        return 1

    end = await asyncio.wait_for(ended, timeout=300)
    await nc.close()
    return 0 if end == "nexus.run.completed.v1" else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
