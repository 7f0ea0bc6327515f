"""Measure variants in turns, so that a machine that gets slower or faster favours none.

A round goes through the variants and then back: A B C, C B A. For two variants that is ABBA. A
drift that is linear over a round hits each variant's sum alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from harness.stats import Estimate, estimate, ratios

Measurement = Mapping[str, float]


def say(text: str) -> None:
    """Report progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Variant:
    """One of the things compared."""

    name: str
    measure: Callable[[], Measurement]


@dataclass(frozen=True)
class Samples:
    """What came out: for each variant, for each metric, one value a round."""

    values: Mapping[str, Mapping[str, Sequence[float]]]

    def typical(self, variant: str, metric: str) -> Estimate:
        """Return the median over the rounds, with its interval."""
        return estimate(self.values[variant][metric])

    def ratio(self, variant: str, baseline: str, metric: str) -> Estimate:
        """Return the median of the rounds' ratios, with its interval."""
        return estimate(ratios(self.values[variant][metric], self.values[baseline][metric]))


def turns(variants: Sequence[Variant], rounds: int, *, mirrored: bool = True) -> list[tuple[int, Variant]]:
    """Return the round and the variant of each measurement, in order.

    Without `mirrored` a round is one pass, every second one backwards: for what takes too long to
    be done twice a round.
    """
    order: list[tuple[int, Variant]] = []
    for number in range(rounds):
        forward, back = list(variants), list(reversed(variants))
        passes = [*forward, *back] if mirrored else (back if number % 2 else forward)
        order += [(number, variant) for variant in passes]
    return order


def run(variants: Sequence[Variant], rounds: int, *, mirrored: bool = True) -> Samples:
    """Take all measurements, and report each. A round's value is the mean of its two."""
    taken: dict[tuple[int, str], list[Measurement]] = {}
    order = turns(variants, rounds, mirrored=mirrored)
    started = time.monotonic()
    for done, (number, variant) in enumerate(order, 1):
        measurement = variant.measure()
        taken.setdefault((number, variant.name), []).append(measurement)
        figures = "  ".join(f"{metric} {value:,.2f}" for metric, value in list(measurement.items())[:4])
        left = (time.monotonic() - started) / done * (len(order) - done)
        say(f"  {done:3d}/{len(order)}  {variant.name:<32} {figures}  (about {left:.0f} s left)")
    return Samples({variant.name: _means(variant.name, taken, rounds) for variant in variants})


def _means(name: str, taken: Mapping[tuple[int, str], list[Measurement]], rounds: int) -> dict[str, list[float]]:
    return {
        metric: [mean(one[metric] for one in taken[number, name]) for number in range(rounds)]
        for metric in taken[0, name][0]
    }
