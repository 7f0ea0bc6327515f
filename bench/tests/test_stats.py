"""Ratios, intervals and the control."""

import random

import pytest
from harness.stats import Estimate, estimate, ratios, void_reason


def test_an_estimate_is_the_median_between_the_ends_of_its_interval() -> None:
    found = estimate([1.0, 1.1, 1.2, 1.3, 1.4])
    assert found.middle == 1.2
    assert 1.0 <= found.low <= found.middle <= found.high <= 1.4


def test_the_same_rounds_always_give_the_same_interval() -> None:
    values = [1.3, 0.9, 1.1, 1.6, 1.2]
    assert estimate(values) == estimate(values)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    generator = random.Random(7)
    runs = 60
    held = 0
    for seed in range(runs):
        found = estimate([generator.gauss(1.0, 0.05) for _ in range(15)], seed)
        held += found.low <= 1.0 <= found.high
    assert held >= 0.85 * runs


def test_ratios_go_round_by_round() -> None:
    assert ratios([2.0, 6.0], [1.0, 2.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="argument 2"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("control", [Estimate(1.0, 0.97, 1.02), Estimate(1.02, 1.01, 1.03), Estimate(0.98, 0.97, 0.99)])
def test_a_control_within_a_few_per_cent_passes(control: Estimate) -> None:
    assert void_reason(control) is None


@pytest.mark.parametrize("control", [Estimate(1.06, 1.04, 1.08), Estimate(0.9, 0.85, 0.95)])
def test_a_variant_that_differs_from_itself_voids_the_run(control: Estimate) -> None:
    assert "differs from itself" in (void_reason(control) or "")


def test_a_control_that_is_anywhere_voids_the_run() -> None:
    assert "too much noise" in (void_reason(Estimate(1.0, 0.85, 1.2)) or "")


def test_a_bench_of_a_small_effect_needs_a_quieter_machine() -> None:
    control = Estimate(1.0, 0.97, 1.02)
    assert void_reason(control) is None
    assert "too much noise" in (void_reason(control, tolerance=0.01, widest=0.02) or "")
    assert "differs from itself" in (void_reason(Estimate(1.02, 1.015, 1.025), tolerance=0.01, widest=0.02) or "")
