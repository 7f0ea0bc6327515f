"""What this process has heard of invalidations, in order: what it holds is checked against that at each use.

A held value remembers the position up to which it is right. As long as nothing was heard since, to check it is to
compare two numbers; after that, to look up its tags, once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from caching.local import Held

MOST = 50_000  # tags that are remembered; with more, everything held is given up instead


class Ledger:
    """Positions count up from 1. Readers take no lock: a position is told only when all that belongs to it is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.position = 1
        self._floor = 1
        self._recent: dict[str, int] = {}

    def note(self, tags: Iterable[str]) -> None:
        """Take note that what bears one of `tags` is wrong from now on."""
        with self._lock:
            following = self.position + 1
            for tag in tags:
                self._recent[tag] = following
            self.position = following
        if len(self._recent) > MOST:
            self.drop_all()

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
