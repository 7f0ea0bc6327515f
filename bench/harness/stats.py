"""From noisy rounds to a ratio with an interval, and the control that says whether to believe
it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 10_000
# The A/A control is void when its interval stays outside 1 ± 3 %, or is wider than 20 % in all:
# then the machine was too noisy to tell anything.
TOLERANCE = 0.03
WIDEST = 0.20


@dataclass(frozen=True)
class Estimate:
    """A median with the interval in which it lies with 95 % confidence."""

    middle: float
    low: float
    high: float


def estimate(values: Sequence[float], seed: int = 1) -> Estimate:
    """Return the median of `values` and its bootstrap interval (percentile method, 95 %).

    The rounds are drawn again and again with repetition; the seed is fixed, so that the same rounds
    always give the same interval. With few rounds the interval is close to their smallest and
    largest.
    """
    if not values:
        raise ValueError("no values")
    generator = random.Random(seed)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Estimate(median(values), medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1])


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return, round by round, a variant's value over the baseline's."""
    return [value / base for value, base in zip(values, baseline, strict=True)]


def void_reason(control: Estimate, tolerance: float = TOLERANCE, widest: float = WIDEST) -> str | None:
    """Return why a run with this A/A control cannot be believed, or None where it can.

    A bench of a small effect asks for more: `widest` less than the effect.
    """
    found = f"{control.middle:.3f} ({control.low:.3f} to {control.high:.3f})"
    if control.low > 1 + tolerance or control.high < 1 - tolerance:
        return f"the same variant differs from itself: {found}"
    if control.high - control.low > widest:
        return f"too much noise to tell: the same variant over itself is {found}"
    return None
