"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"SERVICES": {"stock": "stock:8000"}},
            "E004 GATEWAY['SERVICES']['stock'] must be a URL such as http://edge:8081, not 'stock:8000'.",
        ),
        ({"SERVICES": {"stock": ""}}, "E004 GATEWAY['SERVICES']['stock'] must not be empty."),
        ({"CONCURRENCY": 0}, "E004 GATEWAY['CONCURRENCY'] must be 1 or more, not 0."),
        ({"WAITING": -1}, "E004 GATEWAY['WAITING'] must be 0 or more, not -1."),
        ({"PROBE": "health"}, "E004 GATEWAY['PROBE'] must be a path such as /health/, not 'health'."),
        ({"RATE": "6000"}, "E004 GATEWAY['RATE'] must be int, not str."),
        ({"CALLER": None}, "E004 GATEWAY['CALLER'] must be str, not NoneType."),
        ({"CACHE": "none"}, "E004 GATEWAY['CACHE'] is 'none', which CACHES does not name."),
        ({"HEADERS": "nothing.here"}, "E004 GATEWAY['HEADERS'] cannot be imported: No module named 'nothing'."),
        ({"DRAIN_MARKER": 1}, "E004 GATEWAY['DRAIN_MARKER'] must be str, not int."),
        ({"SERVICE": {}}, "E002 GATEWAY['SERVICE'] is no setting of scaleout.gateway."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.GATEWAY = settings.GATEWAY | wrong
    assert complaints() == [f"scaleout.gateway.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.GATEWAY = {}
    assert complaints() == [
        "scaleout.gateway.E003 GATEWAY['SERVICES'] is missing.",
    ]
