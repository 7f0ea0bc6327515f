"""Progress on standard error: what was measured last, and about how long it still takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from harness.rounds import Measurement, Variant


def say(text: str) -> None:
    """Write a line."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Report each measurement out of `total`."""

    def __init__(self, total: int, describe: Callable[[Measurement], str]) -> None:
        self._total = total
        self._describe = describe
        self._done = 0
        self._started = time.monotonic()

    def __call__(self, number: int, variant: Variant, measurement: Measurement) -> None:
        """Report one measurement of round `number`."""
        self._done += 1
        spent = time.monotonic() - self._started
        left = spent / self._done * (self._total - self._done)
        say(
            f"  {self._done:3d}/{self._total}  round {number + 1}  {variant.name:<32} "
            f"{self._describe(measurement)}  (about {left:.0f} s left)"
        )
