"""The order of the measurements, and what it does against drift."""

from collections.abc import Callable

import pytest
from harness.rounds import Measurement, Variant, run, turns
from harness.stats import void_reason


def nothing() -> Measurement:
    return {}


def test_two_variants_go_a_b_b_a() -> None:
    order = turns([Variant("a", nothing), Variant("b", nothing)], 2)
    assert [variant.name for _, variant in order] == list("abbaabba")
    assert [number for number, _ in order] == [0] * 4 + [1] * 4


def test_rounds_of_one_pass_turn_round_each_time() -> None:
    order = turns([Variant(name, nothing) for name in "abc"], 3, mirrored=False)
    assert "".join(variant.name for _, variant in order) == "abccbaabc"


def drifting(costs: dict[str, float]) -> list[Variant]:
    """Return variants on a machine that gets slower with every measurement."""
    done = 0

    def measured(cost: float) -> Callable[[], Measurement]:
        def measure() -> Measurement:
            nonlocal done
            done += 1
            return {"cpu": cost + done}

        return measure

    return [Variant(name, measured(cost)) for name, cost in costs.items()]


def test_a_linear_drift_makes_no_difference_between_equals() -> None:
    samples = run(drifting({"a": 100, "b": 100, "a again": 100}), 4)
    assert samples.ratio("b", "a", "cpu").middle == pytest.approx(1)
    assert void_reason(samples.ratio("a again", "a", "cpu")) is None


def test_a_round_is_the_mean_of_its_two_measurements() -> None:
    samples = run(drifting({"a": 0, "b": 0}), 2)
    assert samples.values == {"a": {"cpu": [2.5, 6.5]}, "b": {"cpu": [2.5, 6.5]}}
