"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"DATABASES": "nothing.here"},
            "E004 HEALTH['DATABASES'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        ({"DRAIN_MARKER": None}, "E004 HEALTH['DRAIN_MARKER'] must be str, not NoneType."),
        ({"DRAIN_MARKER": ""}, "E004 HEALTH['DRAIN_MARKER'] must not be empty."),
        ({"MARKER": ""}, "E002 HEALTH['MARKER'] is no setting of scaleout.health."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.HEALTH = settings.HEALTH | wrong
    assert complaints() == [f"scaleout.health.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.HEALTH = {}
    assert complaints() == [
        "scaleout.health.E003 HEALTH['DATABASES'] is missing.",
        "scaleout.health.E003 HEALTH['DRAIN_MARKER'] is missing.",
    ]
