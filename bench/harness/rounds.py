"""Measure variants in turns, so that a machine that gets slower or faster meanwhile favours none.

A round goes through the variants and then back: A B C, C B A. For two variants that is ABBA. A
drift that is linear over a round hits each variant's sum alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.stats import TOLERANCE, WIDEST, Estimate, estimate, ratios, void_reason

Measurement = Mapping[str, float]


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

    def void(
        self, control: str, baseline: str, metric: str, tolerance: float = TOLERANCE, widest: float = WIDEST
    ) -> str | None:
        """Return why the run is void, by the control that is the baseline under another name."""
        return void_reason(self.ratio(control, baseline, metric), tolerance, widest)


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


def run(
    variants: Sequence[Variant],
    rounds: int,
    report: Callable[[int, Variant, Measurement], None],
    *,
    mirrored: bool = True,
) -> Samples:
    """Take all measurements; `report` is called after each. A round's value is the mean of its
    two.
    """
    taken: dict[tuple[int, str], list[Measurement]] = {}
    for number, variant in turns(variants, rounds, mirrored=mirrored):
        measurement = variant.measure()
        taken.setdefault((number, variant.name), []).append(measurement)
        report(number, variant, measurement)
    return Samples(
        {
            variant.name: {
                metric: [
                    sum(one[metric] for one in taken[number, variant.name]) / len(taken[number, variant.name])
                    for number in range(rounds)
                ]
                for metric in taken[0, variant.name][0]
            }
            for variant in variants
        }
    )
