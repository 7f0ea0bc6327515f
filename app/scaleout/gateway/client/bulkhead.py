"""A bulkhead: one service may hold a limited number of threads of this process."""

from __future__ import annotations

import threading
import time
from collections import deque

SHORT = 0.2  # seconds in which its turn must come, if any call may wait
STILL = 0.15  # seconds without a free place in which it continues to wait, or so many calls' time:
_CALLS = 5
_NEWEST = 0.2  # the share of the newest call in the mean
_LONGEST = 0.5  # seconds that a call counts for at most: one that hung says little of the next
_FAILURES = 2  # calls in a row that failed: then the service is stuck, and not one page of it, or one replica


class Full(Exception):  # noqa: N818 - a state
    """All places are taken, and none becomes free soon enough."""


class Bulkhead:
    """Let `most` calls through at a time.

    A waiting call holds a thread as well. So `waiting` calls may wait as long as places become
    free. All others may wait only if their turn comes within SHORT, by the length of the latest
    calls: under load places become free every few milliseconds, in a slow service they do not.
    These others leave when no place has become free for the time of a few calls: else a service
    that has just frozen would hold every thread for `patience`. When no place has become free for
    `patience` seconds, or the last calls failed, the service is stuck: every further call is
    refused at once.
    """

    def __init__(self, most: int, waiting: int, patience: float) -> None:
        self._most, self._may_wait, self._patience = most, waiting, patience
        self._moves = threading.Condition()
        self._since: deque[float] = deque()  # when the places were taken
        self._waiting = 0
        self._seconds = 0.0  # of a call: an exponentially weighted mean
        self._moved = 0.0
        self._failures = 0

    def enter(self, until: float) -> None:
        """Take a place, which the caller must return. Raises Full, at `until` (monotonic) at the
        latest.
        """
        with self._moves:
            turn = self._seconds * (self._waiting + 1) / self._most
            patient = self._waiting < self._may_wait
            if len(self._since) >= self._most and not patient and turn > SHORT:
                raise Full
            patience = self._patience if patient else min(self._patience, max(STILL, _CALLS * self._seconds))
            self._waiting += 1
            try:
                while len(self._since) >= self._most:
                    left = min(self._moved + patience, until) - time.monotonic()
                    if left <= 0 or self._failures >= _FAILURES:
                        raise Full
                    self._moves.wait(left)
            finally:
                self._waiting -= 1
            self._moved = time.monotonic()
            self._since.append(self._moved)

    def leave(self, *, well: bool) -> None:
        """Return the place and say whether the call went well."""
        with self._moves:
            self._failures = 0 if well else self._failures + 1
            self._moved = time.monotonic()
            # As if the oldest call had ended: the sum of all lengths is the same for any of them.
            self._seconds += _NEWEST * (min(_LONGEST, self._moved - self._since.popleft()) - self._seconds)
            self._moves.notify_all()
