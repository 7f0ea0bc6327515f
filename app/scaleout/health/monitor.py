"""Probe what this process depends on in threads, so that a health check costs nothing and never
waits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Protocol

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two probes
STALE = 3.0  # seconds after which an answer no longer counts: a probe hangs, or the machine is overloaded
FIRST = 0.8  # seconds that the very first question waits for the first answer

_stopping = threading.Event()
_threads: list[threading.Thread] = []


def stop_all() -> None:
    """End all monitors of this process and let their probes close what they hold open."""
    _stopping.set()
    for thread in _threads:
        thread.join(INTERVAL + STALE)


class Probe(Protocol):
    """Probe a dependency once."""

    def __call__(self) -> None:
        """Return if the dependency works; raise if not."""

    def close(self) -> None:
        """Close the probe's connections."""


class Monitor:
    """Call `probe` every second in a thread of its own, and keep the time of its last success.

    While a probe hangs that time grows old, so a hung dependency shows as well as a dead one. The
    first question starts the thread: after gunicorn has forked, never before.
    """

    def __init__(self, name: str, probe: Probe) -> None:
        self.name = name
        self._probe = probe
        self._lock = threading.Lock()
        self._pid = 0
        self._good = float("-inf")
        self._first = threading.Event()

    def ok(self) -> bool:
        """Return whether the last seconds' probes went well. Waits at most FIRST, and only the
        first time.
        """
        self._start()
        self._first.wait(FIRST)
        return time.monotonic() - self._good < STALE

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._first.clear()
                thread = threading.Thread(target=self._run, name=f"health-{self.name}", daemon=True)
                _threads.append(thread)
                thread.start()

    def _run(self) -> None:
        was_ok = True
        while not _stopping.is_set():
            try:
                self._probe()
            except Exception as error:  # any failure is unhealthy
                self._good = float("-inf")
                if was_ok:
                    log.warning("probe %s failed: %s", self.name, error)
                was_ok = False
            else:
                self._good = time.monotonic()
                if not was_ok:
                    log.warning("probe %s recovered", self.name)
                was_ok = True
            self._first.set()
            _stopping.wait(INTERVAL)
        self._probe.close()
