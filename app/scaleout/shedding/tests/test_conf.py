"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"TRY_SECONDS": 0}, "E004 SHEDDING['TRY_SECONDS'] must be from 0.001 to 1000000000, not 0."),
        ({"KINDS": {"pages": ["/"]}}, "E004 SHEDDING['KINDS']['pages'] must be mapping, not list."),
        (
            {"KINDS": {"pages": {"paths": ["/"]}}},
            "E004 SHEDDING['KINDS']['pages'] must have the keys paths and seconds.",
        ),
        (
            {"KINDS": {"pages": {"paths": "/", "seconds": 1.0}}},
            "E004 SHEDDING['KINDS']['pages'] must have a list of prefixes, each with / first, as its paths.",
        ),
        (
            {"KINDS": {"pages": {"paths": ["/"], "seconds": 0}}},
            "E004 SHEDDING['KINDS']['pages'] must have a number above 0, at most 1000000000, as its seconds, not 0.",
        ),
        (
            {"KINDS": {"pages": {"paths": ["pages"], "seconds": 1.0}}},
            "E004 SHEDDING['KINDS']['pages'] must have a list of prefixes, each with / first, as its paths.",
        ),
        (
            {"KINDS": {"pages": {"paths": ["/"], "seconds": float("inf")}}},
            "E004 SHEDDING['KINDS']['pages'] must have a number above 0, at most 1000000000, as its seconds, not inf.",
        ),
        ({"KIND": {}}, "E002 SHEDDING['KIND'] is no setting of scaleout.shedding."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.SHEDDING = settings.SHEDDING | wrong
    assert complaints() == [f"scaleout.shedding.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.SHEDDING = {}
    assert complaints() == [
        "scaleout.shedding.E003 SHEDDING['KINDS'] is missing.",
        "scaleout.shedding.E003 SHEDDING['TRY_SECONDS'] is missing.",
    ]
