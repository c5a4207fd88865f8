#!/usr/bin/env python3
"""A program whose ledger is `taskledger append --jsonl`: killed at any moment and run again, it goes on where it was.

    taskledger init /srv/squares && python3 ledger.py /srv/squares 25
"""
import json, subprocess, sys

command = ["taskledger", "append", "--jsonl", "-", "-D", sys.argv[1]]
ledger = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def append(task, event, to=None, **more):
    """Returns once it is durable. Under its key it is appended once, however often this is called."""
    fact = {"task": task, "event": event, "to": to, "key": to or event, "actor": "ledger.py", **more}
    print(json.dumps(fact), file=ledger.stdin, flush=True)
    answer = json.loads(ledger.stdout.readline() or sys.exit(ledger.wait() or "taskledger has ended"))
    if answer["type"] != "taskledger.receipt/1":
        sys.exit(answer["message"])
    print(answer["seq"], task, to or event, "again" if answer["replayed"] else "", flush=True)

for n in range(int(sys.argv[2])):
    append(f"square/{n}", "created")
    append(f"square/{n}", "transitioned", "ready")
    append(f"square/{n}", "transitioned", "running")
    append(f"square/{n}", "transitioned", "completed", output=n * n)
ledger.stdin.close()
sys.exit(ledger.wait())
