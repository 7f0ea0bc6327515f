"""A budget for retries, so that they never multiply the load on a service in trouble."""

from __future__ import annotations

import threading


class Budget:
    """Each first try earns `share` of a retry; at most `most` are saved."""

    def __init__(self, share: float, most: float) -> None:
        self._share, self._most = share, most
        self._lock = threading.Lock()
        self._saved = most

    def earn(self) -> None:
        """Count a first try."""
        with self._lock:
            self._saved = min(self._saved + self._share, self._most)

    def spend(self) -> bool:
        """Return whether a retry is allowed, and count it."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True
