"""The same messages through the official package `standardwebhooks`."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

secret, path = sys.argv[1:]
receiver = Webhook(secret)
number = 0
with open(path, encoding="utf-8") as lines:
    for line in lines:
        message = json.loads(line)
        event = receiver.verify(message["body"], message["headers"])
        assert event["type"] == event["data"]["type"], event
        number += 1
        forged = message["body"].replace('"timestamp"', '"timestamp "', 1)
        try:
            receiver.verify(forged, message["headers"])
        except WebhookVerificationError:
            continue
        sys.exit("a forged message was believed")
print(f"{number} messages are signed with this secret")
