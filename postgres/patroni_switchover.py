#!/usr/bin/python3
"""Move the primary to a replica that has every commit, and say how long there was none.

Run in a container of the cluster: `docker compose exec postgres-1 /opt/postgres/patroni_switchover.py`.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn

SECONDS = 60
SYNCHRONOUS = {"Quorum Standby", "Sync Standby"}


def refuse(message: str) -> NoReturn:
    """Stop with one line."""
    sys.exit(f"error: {message}")


def members() -> list[dict[str, Any]]:
    """Return the cluster's members as patronictl sees them; empty while it cannot."""
    answer = subprocess.run(
        ["patronictl", "list", "--format", "json"], capture_output=True, text=True, timeout=15, check=False
    )
    return json.loads(answer.stdout) if answer.returncode == 0 and answer.stdout.strip() else []


def is_primary(node: str) -> bool:
    """Ask the node's Patroni whether it is the running primary that holds the lock."""
    connection = http.client.HTTPConnection(f"{node}.data", 8008, timeout=1)
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
    """Look who is primary, every 50 ms, until `new` is or the time is up."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(daemon=True)
        self.old, self.new = old, new
        self.deadline = time.monotonic() + SECONDS
        self.last_old = self.first_new = 0.0

    def run(self) -> None:
        """Note when the old primary was last seen as one, and the new one first."""
        while not self.first_new and time.monotonic() < self.deadline:
            if is_primary(self.old):
                self.last_old = time.monotonic()
            elif is_primary(self.new):
                self.first_new = time.monotonic()
            time.sleep(0.05)


def main() -> None:
    """Choose a candidate, ask for the switchover, wait for the new primary, report."""
    found = members() or refuse("Patroni does not answer: see docker compose logs postgres-1 etcd")
    old = next((m["Member"] for m in found if m["Role"] == "Leader" and m["State"] == "running"), None)
    if old is None:
        refuse("the cluster has no primary at the moment: see patronictl list")
    ready = [m["Member"] for m in found if m["Role"] in SYNCHRONOUS and m["State"] == "streaming"]
    if not ready:
        refuse(f"no replica of {old} is streaming and synchronous: see patronictl list")
    new = sorted(ready)[0]
    watch = Watch(old, new)
    watch.start()
    answer = subprocess.run(
        ["patronictl", "switchover", "--leader", old, "--candidate", new, "--force"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if "Successfully" not in answer.stdout:
        refuse(f"Patroni refused to move {old} to {new}: {(answer.stdout + answer.stderr).strip()[:300]}")
    watch.join(SECONDS)
    if not watch.first_new:
        refuse(f"{new} is not primary {SECONDS} s after the switchover: see patronictl list")
    print(f"{old} -> {new}, no primary for {watch.first_new - watch.last_old:.1f} s")


if __name__ == "__main__":
    main()
