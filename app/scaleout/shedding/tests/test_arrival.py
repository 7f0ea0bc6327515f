"""The wait that the load balancer's stamp shows."""

from __future__ import annotations

import pytest

from scaleout.shedding.arrival import waited

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("t=1800000000000", 0.0),
        ("t=1799999999250", 0.75),
        ("t=1799999998001", 1.999),
        ("t=1799999998000", 0.0),  # the load balancer has waited for 2 s: its second try
        ("t=1799999997300", 0.7),
    ],
)
def test_a_request_has_waited_since_its_stamp_or_since_the_second_try(stamp: str, seconds: float) -> None:
    assert waited(stamp, NOW, 2.0) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "stamp",
    [
        "", "t=", "now", "1799999999250", "t=1799999999.250", "t=-100", "t=17999999992500", "t=1799999999250, t=1",
        "t=1800000000001",  # from the future
        "t=1799999939999",  # older than a minute
        "t=0000000000000",
        "t=\u0661\u0667\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0662\u0665\u0660",
    ],
)  # fmt: skip
def test_a_stamp_that_makes_no_sense_says_nothing(stamp: str) -> None:
    assert waited(stamp, NOW, 2.0) is None
