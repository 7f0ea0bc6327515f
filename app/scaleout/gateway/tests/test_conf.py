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
        ({"SERVICES": {}}, "E004 GATEWAY['SERVICES'] must not be empty."),
        ({"SERVICES": {"stock": ""}}, "E004 GATEWAY['SERVICES']['stock'] must not be empty."),
        ({"CONCURRENCY": 0}, "E004 GATEWAY['CONCURRENCY'] must be from 1 to 1000000000, not 0."),
        ({"WAITING": -1}, "E004 GATEWAY['WAITING'] must be from 0 to 1000000000, not -1."),
        ({"PROBE": "health"}, "E004 GATEWAY['PROBE'] must be a path such as /health/, not 'health'."),
        ({"RATE": "6000"}, "E004 GATEWAY['RATE'] must be int, not str."),
        ({"CALLER": None}, "E004 GATEWAY['CALLER'] must be str, not NoneType."),
        ({"CACHE": "none"}, "E004 GATEWAY['CACHE'] is 'none', which CACHES does not name."),
        (
            {"HEADERS": "nothing.here"},
            "E004 GATEWAY['HEADERS'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        ({"DRAIN_MARKER": 1}, "E004 GATEWAY['DRAIN_MARKER'] must be str, not int."),
        (
            {"SERVICES": {"stock": "https://stock"}},
            "E004 GATEWAY['SERVICES']['stock'] must begin with http://: the gateway speaks no TLS.",
        ),
        (
            {"SERVICES": {"a/b": "http://stock"}},
            "E004 GATEWAY['SERVICES']: the key 'a/b' must be a word of letters, digits, - and _.",
        ),
        ({"PROBE": "/a b"}, "E004 GATEWAY['PROBE'] must be a path such as /health/, not '/a b'."),
        ({"PROBE": "/a\nb"}, "E004 GATEWAY['PROBE'] must be one line without control characters."),
        ({"DRAIN_MARKER": ""}, "E004 GATEWAY['DRAIN_MARKER'] must not be empty."),
        ({"CALLER": "os.sep"}, "E004 GATEWAY['CALLER'] must name a function, not str."),
        (
            {"CACHE": "local"},
            "E005 GATEWAY['RATE'] needs a cache of django-redis: GATEWAY['CACHE'] is 'local', which is no cache of"
            " django-redis.",
        ),
        ({"SERVICE": {}}, "E002 GATEWAY['SERVICE'] is no setting of scaleout.gateway."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.GATEWAY = settings.GATEWAY | wrong
    assert complaints() == [f"scaleout.gateway.{said}"]


def test_a_gateway_that_counts_no_requests_needs_no_redis(settings: Any) -> None:
    settings.GATEWAY = settings.GATEWAY | {"RATE": 0, "CACHE": "local"}
    assert complaints() == []


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.GATEWAY = {}
    assert complaints() == [
        "scaleout.gateway.E003 GATEWAY['SERVICES'] is missing.",
    ]
