"""Callers that write and read what they have written; and a standby that stands still."""

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
    """Let the standby `node` receive the log, but show nothing of it.

    By its process that replays, and not by pg_wal_replay_pause(): Patroni takes that back within
    its two seconds.
    """
    pid = stack.run_in(node, "pgrep", "-f", "^postgres: .*startup recovering").strip()
    assert pid.isdigit(), f"no process of {node} replays the log: {pid!r}"
    stack.run_in(node, "kill", "-STOP", pid)
    try:
        yield
    finally:
        stack.run_in(node, "kill", "-CONT", pid)


class OwnReads(Callers):
    """Callers that add to the counter and read it with the position of the last addition that was
    answered 200.

    `seen` counts the reads: `fresh`, `stale`, or `status <n>`, and `lost` without an answer;
    `writes` those answered
    200. `slowest` is the longest read, in seconds.
    """

    def __init__(self, site: Site, callers: int = 3, pause: float = 0.05) -> None:
        self.seen: Counter[str] = Counter()
        self.writes = self.tried = 0
        self.slowest = 0.0
        self._site, self._pause, self._lock = site, pause, threading.Lock()
        super().__init__(callers)

    def summary(self) -> str:
        """Return what was seen."""
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
