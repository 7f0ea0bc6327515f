"""Wait for a condition, with a deadline and a report of the last value."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.settings import TIME_FACTOR

INTERVAL = 0.2  # seconds between two checks


class TimedOutError(AssertionError):
    """The condition was not met in time."""


def eventually[T](
    expected: str,
    look: Callable[[], T],
    accept: Callable[[T], bool] = bool,
    *,
    within: float,
    interval: float = INTERVAL,
) -> T:
    """Call `look` until `accept` accepts its result, and return the result.

    `within` is the deadline in seconds, multiplied by TIME_FACTOR. An exception of `look` (no
    connection, a failed command, an assertion) counts as not yet. A time-out reports the
    expectation, the last result and the duration; conftest.py adds the state of the stack.
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
        time.sleep(min(interval, deadline - waited))  # the one sleep of the tests: between two checks, with a deadline


def steadily[T](expected: str, look: Callable[[], T], accept: Callable[[T], bool] = bool, *, during: float) -> None:
    """Assert that `accept` accepts each result of `look` for `during` seconds."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < during:
        seen = look()
        assert accept(seen), f"expected for {during:.1f} s: {expected}\nafter {passed:.1f} s seen: {seen!r}"
        time.sleep(min(INTERVAL, during - passed))
