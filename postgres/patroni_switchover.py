#!/usr/bin/python3
"""Switch the primary over to a replica that has every commit, and report the gap without a primary.

Run it in a container of the cluster: `docker compose exec postgres-1
/opt/postgres/patroni_switchover.py`.
"""

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn

SECONDS = 60
TRUST = ssl.create_default_context(cafile="/run/node/ca.pem")
SYNCHRONOUS = {"Quorum Standby", "Sync Standby"}


def refuse(message: str) -> NoReturn:
    """Exit with one line."""
    sys.exit(f"error: {message}")


def patronictl(*arguments: str, seconds: float) -> str:
    """Return patronictl's output. It would wait for etcd for ever: `seconds` is the limit."""
    try:
        answer = subprocess.run(
            ["patronictl", *arguments], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        refuse(f"patronictl {arguments[0]}: no answer within {seconds:.0f} s: see docker compose ps etcd")
    if answer.returncode:
        refuse(f"patronictl {arguments[0]}: {(answer.stdout + answer.stderr).strip()[-300:]}")
    return answer.stdout


def is_primary(node: str) -> bool:
    """Ask the node's Patroni whether it is the running primary that holds the lock."""
    connection = http.client.HTTPSConnection(f"{node}.data", 8008, timeout=1, context=TRUST)
    try:
        connection.request("GET", "/primary")
        answer = connection.getresponse()
        state = json.loads(answer.read())
        return answer.status == 200 and state.get("role") == "primary" and state.get("state") == "running"
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Watch(threading.Thread):
    """Check for the primary every 50 ms, until `new` is the primary or the time is up."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(daemon=True)
        self.old, self.new = old, new
        self.deadline = time.monotonic() + SECONDS
        self.last_old = self.first_new = 0.0

    def run(self) -> None:
        """Record when the old primary was last seen as primary, and the new one first."""
        while not self.first_new and time.monotonic() < self.deadline:
            if is_primary(self.old):
                self.last_old = time.monotonic()
            elif is_primary(self.new):
                self.first_new = time.monotonic()
            time.sleep(0.05)


def main() -> None:
    """Choose a candidate, request the switchover, wait for the new primary, report."""
    found: list[dict[str, Any]] = json.loads(patronictl("list", "--format", "json", seconds=15))
    old = next((m["Member"] for m in found if m["Role"] == "Leader" and m["State"] == "running"), None)
    if old is None:
        refuse("the cluster has no primary: see patronictl list")
    ready = [m["Member"] for m in found if m["Role"] in SYNCHRONOUS and m["State"] == "streaming"]
    if not ready:
        refuse(f"no replica of {old} is streaming and synchronous: see patronictl list")
    new = sorted(ready)[0]
    watch = Watch(old, new)
    watch.start()
    said = patronictl("switchover", "--leader", old, "--candidate", new, "--force", seconds=SECONDS)
    if "Successfully" not in said:
        refuse(f"Patroni refused to move {old} to {new}: {said.strip()[:300]}")
    watch.join(SECONDS)
    if not watch.first_new:
        refuse(f"{new} is not primary {SECONDS} s after the switchover: see patronictl list")
    print(f"{old} -> {new}, no primary for {watch.first_new - watch.last_old:.1f} s")


if __name__ == "__main__":
    main()
