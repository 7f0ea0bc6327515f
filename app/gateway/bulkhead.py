"""A bulkhead: one service may hold so many threads of this process, and no more."""

from __future__ import annotations

import threading
import time


class Full(Exception):  # noqa: N818 - a state
    """All places are taken, and nobody has moved for a while."""


class Bulkhead:
    """Let `most` calls through at a time.

    Whoever finds it full waits as long as places become free: under load they do so every few milliseconds. When
    none has for `patience` seconds, or the last call failed, the service is stuck: everyone who comes is told so at
    once, since whoever waits holds a thread as well.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most, self._patience = most, patience
        self._moves = threading.Condition()
        self._taken = 0
        self._moved = 0.0
        self._well = True

    def enter(self, until: float) -> None:
        """Take a place, which must be given back. Raises Full, at `until` (monotonic) at the latest."""
        with self._moves:
            while self._taken >= self._most:
                left = min(self._moved + self._patience, until) - time.monotonic()
                if left <= 0 or not self._well:
                    raise Full
                self._moves.wait(left)
            self._taken += 1
            self._moved = time.monotonic()

    def leave(self, *, well: bool) -> None:
        """Give the place back and say whether the call went well."""
        with self._moves:
            self._taken -= 1
            self._well = well
            self._moved = time.monotonic()
            self._moves.notify_all()
