"""Verifies an export of the audit log: `nexus audit export > audit.jsonl`.

    python verify_audit.py audit.jsonl [SEQ:HASH ...]

Every entry must have the hash of what it holds, and follow the one before it. An export of some
entries (`--action`, `--since`) has gaps; each is said. Of the heads that are named (`nexus audit
head`, kept elsewhere) each must be in the export. Needs Python 3.9 and nothing else.
"""

import hashlib
import json
import sys


def hash_of(entry):
    """SHA-256 over the hash before and the entry as JSON: sorted keys, no white space, UTF-8."""
    held = {key: value for key, value in entry.items() if key not in ("hash", "prev_hash")}
    text = json.dumps(held, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(bytes.fromhex(entry["prev_hash"]) + text.encode()).hexdigest()


def main(path, heads):
    number, before, gaps, wanted = 0, "0" * 64, 0, set(heads)
    for line in open(path, encoding="utf-8"):
        entry = json.loads(line)
        here = f"entry {entry['number']} at {entry['seq']}.{entry['position']}"
        if entry["v"] != 1 or hash_of(entry) != entry["hash"]:
            return f"{here}: changed"
        if entry["number"] <= number:
            return f"{here}: reordered or inserted"
        if entry["number"] == number + 1 and entry["prev_hash"] != before:
            return f"{here}: the entry before it was changed"
        if entry["number"] > number + 1:
            gaps += 1
            print(f"entries {number + 1} to {entry['number'] - 1} are not in the export")
        number, before = entry["number"], entry["hash"]
        wanted.discard(f"{entry['seq']}:{entry['hash']}")
        last = f"{entry['seq']}:{entry['hash']}"
    if wanted:
        return f"not in the export: {', '.join(sorted(wanted))}"
    if number:
        print(f"whole up to entry {number}, {gaps} gaps; it ends with {last}")
    return 0 if not gaps else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
