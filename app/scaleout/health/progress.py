"""Whether the threads that serve requests make progress: a busy pool does, a hung one does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STUCK = 3.0  # seconds; the load balancers wait 2 s, so the callers of these threads are gone


class Pool:
    """The threads of this process that serve requests. `threads` is 0 where they are not
    counted.
    """

    def __init__(self) -> None:
        self.threads = 0
        self._lock = threading.Lock()
        self._busy = 0
        self._moved = time.monotonic()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count one request as in progress."""
        self._move(1)
        try:
            yield
        finally:
            self._move(-1)

    def stuck(self) -> bool:
        """Return whether every thread is busy and none has begun or ended a request for STUCK
        seconds.
        """
        with self._lock:
            return 0 < self.threads <= self._busy and time.monotonic() - self._moved > STUCK

    def _move(self, by: int) -> None:
        with self._lock:
            self._busy += by
            self._moved = time.monotonic()


pool = Pool()
