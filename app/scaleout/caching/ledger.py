"""What this process has heard of invalidations, in order: what it holds is checked against that at
each use.

A held value remembers the position up to which it is right. As long as nothing was heard since, to
check it is to compare two numbers; after that, to look up its tags, once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from scaleout.caching.local import Held

CAP = 2.0  # seconds that a process believes what it holds without asking Redis again
MOST = 50_000  # tags that are remembered; with more, everything held is given up instead
TOKEN_SECONDS = 60  # longer than a replica may lag before it is left out


class Ledger:
    """Positions count up from 1. Readers take no lock: a position is told only when all that
    belongs to it is there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.position = 1
        self._floor = 1
        self._recent: dict[str, int] = {}
        self._token = ("", 0.0)  # and until when it counts

    def note(self, tags: Iterable[str], token: str = "") -> None:
        """Take note that what bears one of `tags` is wrong from now on: what is right has read the
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
        """Return the newest state that was heard of in the last minute: what is computed now must
        have read it.
        """
        token, until = self._token
        return token if time.monotonic() < until else ""

    def drop_all(self) -> None:
        """Give up everything that is held: something may not have been heard."""
        with self._lock:
            self._floor = self.position + 1
            self.position = self._floor
            self._recent = {}

    def allows(self, held: Held) -> bool:
        """Return whether nothing that was heard speaks against `held`."""
        position, recent = self.position, self._recent
        if held.checked == position:
            return True
        checked = held.checked
        if checked < self._floor or any(recent.get(tag, 0) > checked for tag in held.tags):
            return False
        held.checked = position
        return True
