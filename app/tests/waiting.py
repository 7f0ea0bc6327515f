"""Wait for a condition, with a deadline."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# The factor of every deadline in a test: raise it on a slow or busy machine.
TIME_FACTOR = float(os.environ.get("TIME_FACTOR") or 1)


def eventually(
    condition: Callable[[], object],
    seconds: float = 5.0,
    what: str = "the condition to hold",
    not_yet: tuple[type[Exception], ...] = (),
) -> float:
    """Wait until the condition holds, for at most `seconds` times TIME_FACTOR; return the seconds.

    An exception of the types `not_yet` counts as false. The interval grows: each check takes CPU
    time from the process that it waits for.
    """
    pause, began, deadline = threading.Event(), time.monotonic(), seconds * TIME_FACTOR
    while True:
        with suppress(*not_yet):
            if condition():
                return time.monotonic() - began
        waited = time.monotonic() - began
        assert waited < deadline, f"not within {deadline:.1f} s: {what}"
        pause.wait(min(0.02 + waited / 20, 0.2))


@contextmanager
def in_time(seconds: float = 10.0) -> Iterator[None]:
    """Fail if the block takes longer than `seconds` times TIME_FACTOR.

    For code that must end although a server hangs, not for speed: choose seconds that only a
    missing time-out exceeds.
    """
    began, deadline = time.monotonic(), seconds * TIME_FACTOR
    yield
    took = time.monotonic() - began
    assert took < deadline, f"took {took:.1f} s, must end within {deadline:.1f} s"
