"""A circuit breaker: after repeated failures a service gets no calls for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CLOSED, HALF_OPEN, OPEN = 0, 1, 2


class Open(Exception):  # noqa: N818 - a state
    """Nothing may be sent for another `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Breaker:
    """Open after `failures` in a row; after `rest` seconds one call tries, and its outcome closes
    or reopens it.

    It knows the calls of this process only. The outcome of a call that began before the last change
    of state is not counted: it says nothing about the state since.
    """

    def __init__(self, failures: int, rest: float, tell: Callable[[int], None] = lambda _state: None) -> None:
        self._most, self._rest, self._tell = failures, rest, tell
        self._lock = threading.Lock()
        self._state, self._turn = CLOSED, 0
        self._failures = 0
        self._until = 0.0

    def enter(self) -> int:
        """Return a ticket for one call, which the caller must return. Raises Open."""
        with self._lock:
            # Each time, since a worker that replaces another one takes over its gauge.
            self._tell(self._state)
            if self._state == CLOSED:
                return self._turn
            left = self._until - time.monotonic()
            if self._state == OPEN and left <= 0:
                self._change(HALF_OPEN)
                return self._turn
            raise Open(max(left, 0.0))

    def leave(self, ticket: int, well: bool | None) -> None:
        """Record the outcome of a call; None if it says nothing about the service."""
        with self._lock:
            if ticket != self._turn:
                return
            if self._state == HALF_OPEN:
                if well:
                    self._change(CLOSED)
                else:
                    self._open(self._rest if well is False else 0.0)
            elif well:
                self._failures = 0
            elif well is False:
                self._failures += 1
                if self._failures >= self._most:
                    self._open(self._rest)

    def _open(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._change(OPEN)

    def _change(self, state: int) -> None:
        self._state = state
        self._turn += 1
        self._failures = 0
        self._tell(state)
