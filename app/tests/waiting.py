"""Waiting for what comes about by itself, with a deadline."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Every deadline of a test is multiplied by this: raise it on a slow or busy machine.
TIME_FACTOR = float(os.environ.get("TIME_FACTOR") or 1)


def eventually(
    condition: Callable[[], object],
    seconds: float = 5.0,
    what: str = "the condition to hold",
    not_yet: tuple[type[Exception], ...] = (),
) -> float:
    """Wait until the condition holds, at most for `seconds` times TIME_FACTOR; return how many
    seconds it took.

    An exception of the types `not_yet` counts as not yet. It looks less often the longer it waits:
    a look costs the same cores that what is waited for needs.
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
    """Fail if the block takes longer than `seconds` times TIME_FACTOR: for what must end although
    something hangs.

    Choose seconds that a busy machine never needs and that only the missing time-out exceeds; no
    test measures speed.
    """
    began, deadline = time.monotonic(), seconds * TIME_FACTOR
    yield
    took = time.monotonic() - began
    assert took < deadline, f"it took {took:.1f} s, though it must end within {deadline:.1f} s"
