"""A circuit breaker that one failure opens: what has failed is left alone for a while."""

from __future__ import annotations

import threading
import time
import weakref

from scaleout.base.forks import in_child


class Breaker:
    """After a failure one caller tries every `seconds`; the others are refused until one succeeds.

    It knows what this process has seen. While it is closed, asking it takes no lock.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._since: float | None = None  # the last failure, or the last try since then; None: closed
        _breakers.add(self)

    @property
    def open(self) -> bool:
        """Whether the last outcome was a failure."""
        return self._since is not None

    def allows(self) -> bool:
        """Return whether the caller may try. While open: one caller, `seconds` after the last."""
        if self._since is None:
            return True
        with self._lock:
            if self._since is None:
                return True
            now = time.monotonic()
            if now - self._since < self.seconds:
                return False
            self._since = now
            return True

    def failed(self) -> bool:
        """Note a failure; return whether it opened the breaker."""
        with self._lock:
            opened = self._since is None
            self._since = time.monotonic()
            return opened

    def worked(self) -> bool:
        """Note a success; return whether it closed the breaker."""
        if self._since is None:
            return False
        with self._lock:
            closed = self._since is not None
            self._since = None
            return closed


_breakers: weakref.WeakSet[Breaker] = weakref.WeakSet()


@in_child
def _unlock_all() -> None:
    for breaker in _breakers:
        breaker._lock = threading.Lock()
