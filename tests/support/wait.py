"""Waiting for a condition, with a deadline and an account of what was seen instead."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.settings import TIME_FACTOR

INTERVAL = 0.2  # seconds between two looks


class TimedOutError(AssertionError):
    """The condition did not come true in time."""


def eventually[T](
    expected: str,
    look: Callable[[], T],
    accept: Callable[[T], bool] = bool,
    *,
    within: float,
    interval: float = INTERVAL,
) -> T:
    """Call `look` until `accept` likes what it returns, and return that.

    `within` is the deadline in seconds, multiplied by TIME_FACTOR. An exception of `look` (no
    connection, a failed command, an assertion) counts as not yet. On time-out it says what was
    expected, what was seen last and how long that took; the state of the stack is added by
    conftest.py.
    """
    deadline = within * TIME_FACTOR
    started = time.monotonic()
    while True:
        try:
            seen = look()
            if accept(seen):
                return seen
            last = repr(seen)
        except Exception as error:
            last = f"{type(error).__name__}: {error}"
        waited = time.monotonic() - started
        if waited >= deadline:
            raise TimedOutError(f"expected: {expected}\nlast seen: {last}\nwaited: {waited:.1f} s of {deadline:.1f} s")
        time.sleep(min(interval, deadline - waited))  # between two looks; this is where the tests wait with a deadline


def steadily[T](expected: str, look: Callable[[], T], accept: Callable[[T], bool] = bool, *, during: float) -> None:
    """Assert that `accept` likes what `look` returns each time, for `during` seconds."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < during:
        seen = look()
        assert accept(seen), f"expected for {during:.1f} s: {expected}\nafter {passed:.1f} s seen: {seen!r}"
        time.sleep(min(INTERVAL, during - passed))
