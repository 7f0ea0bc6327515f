"""The invalidations that this process has received, in order, to check held values at each use.

A held value keeps the position up to which it is right. Without a newer invalidation the check
compares two numbers; after one, it looks its tags up, once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from scaleout.caching.local import Held

CAP = 2.0  # seconds that a process uses a held value without asking Redis again
MOST = 50_000  # tags that are kept; with more, everything held is dropped
TOKEN_SECONDS = 60  # longer than a replica may lag before it is removed


class Ledger:
    """Positions count up from 1. Readers take no lock: a position is published only when its tags
    are stored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.position = 1
        self._floor = 1
        self._recent: dict[str, int] = {}
        self._token = ("", 0.0)  # and until when it counts

    def note(self, tags: Iterable[str], token: str = "") -> None:
        """Record that values with one of `tags` are wrong from now on: a right one has read the
        state `token`.
        """
        with self._lock:
            if token >= self.token():
                self._token = token, time.monotonic() + TOKEN_SECONDS
            following = self.position + 1
            for tag in tags:
                self._recent[tag] = following
            self.position = following
        if len(self._recent) > MOST:
            self.drop_all()

    def token(self) -> str:
        """Return the newest state received in the last minute: a new value must have read it."""
        token, until = self._token
        return token if time.monotonic() < until else ""

    def drop_all(self) -> None:
        """Drop everything held: an invalidation may have been missed."""
        with self._lock:
            self._floor = self.position + 1
            self.position = self._floor
            self._recent = {}

    def allows(self, held: Held) -> bool:
        """Return whether no invalidation makes `held` wrong."""
        position, recent = self.position, self._recent
        if held.checked == position:
            return True
        checked = held.checked
        if checked < self._floor or any(recent.get(tag, 0) > checked for tag in held.tags):
            return False
        held.checked = position
        return True
