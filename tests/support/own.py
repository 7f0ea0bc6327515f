"""Callers that read their own writes, and a standby whose replay is stopped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import requests

from support.callers import Callers
from support.client import Site
from support.stack import Stack


@contextlib.contextmanager
def replay_stopped(stack: Stack, node: str) -> Iterator[None]:
    """Stop the replay of the standby `node`; it still receives the WAL.

    It stops the startup process: Patroni would revert pg_wal_replay_pause() within two seconds.
    """
    pid = stack.run_in(node, "pgrep", "-f", "^postgres: .*startup recovering").strip()
    assert pid.isdigit(), f"no process of {node} replays the log: {pid!r}"
    stack.run_in(node, "kill", "-STOP", pid)
    try:
        yield
    finally:
        stack.run_in(node, "kill", "-CONT", pid)


class OwnReads(Callers):
    """Callers that add to the counter and read it with the LSN of their last successful addition.

    `seen` counts the reads: `fresh`, `stale`, `status <n>`, or `lost` without an answer. `writes`
    counts the additions answered 200. `slowest` is the longest read in seconds.
    """

    def __init__(self, site: Site, callers: int = 3, pause: float = 0.05) -> None:
        self.seen: Counter[str] = Counter()
        self.writes = self.tried = 0
        self.slowest = 0.0
        self._site, self._pause, self._lock = site, pause, threading.Lock()
        super().__init__(callers)

    def summary(self) -> str:
        """Return the counts of writes and reads."""
        return f"{self.writes} of {self.tried} writes, reads {dict(self.seen)}, slowest {self.slowest:.3f} s"

    def _run(self, _number: int) -> None:
        count, after = 0, ""
        while not self._stop.wait(self._pause):
            with contextlib.suppress(requests.RequestException):
                with self._lock:
                    self.tried += 1
                answer = self._site.post("/counter/")
                if answer.status_code == 200:
                    count, after = answer.json()["count"], answer.headers["X-Read-After"]
                    with self._lock:
                        self.writes += 1
            if after:
                self._read(count, after)

    def _read(self, count: int, after: str) -> None:
        began = time.monotonic()
        try:
            answer = self._site.get("/counter/", headers={"X-Read-After": after})
        except requests.RequestException:
            what = "lost"
        else:
            what = f"status {answer.status_code}"
            if answer.status_code == 200:
                what = "fresh" if answer.json()["count"] >= count else "stale"
        with self._lock:
            self.seen[what] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
