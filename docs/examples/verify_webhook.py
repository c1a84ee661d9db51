#!/usr/bin/env python3
"""Checks a message of a webhook with nothing but the standard library.

In a program of yours: `verify(secret, headers, body)` with the body as bytes, before it is read as JSON.
From the command line: verify_webhook.py SECRET FILE, where each line of the file is a JSON object
with `headers` and `body`, as the tests write it.
"""

import base64
import hashlib
import hmac
import json
import sys
import time


def verify(secret, headers, body, tolerance_s=300):
    """The message as JSON. Raises ValueError where it is not ours, or old."""
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > tolerance_s:
        raise ValueError("too old")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{sent}.".encode() + body
    ours = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    theirs = [entry.removeprefix("v1,") for entry in headers["webhook-signature"].split(" ")]
    if not any(hmac.compare_digest(ours, one) for one in theirs):
        raise ValueError("not signed by us")
    return json.loads(body)


if __name__ == "__main__":
    secret, path = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            message = json.loads(line)
            verify(secret, message["headers"], message["body"].encode())
    print(f"{number} messages are signed with this secret")
