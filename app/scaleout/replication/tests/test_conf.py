"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"REPLICAS": ["none"]}, "E004 REPLICATION['REPLICAS'][0] is 'none', which DATABASES does not name."),
        (
            {"WEIGHTS": {"replica1": -1}},
            "E004 REPLICATION['WEIGHTS']['replica1'] must be from 0 to 1000000000, not -1.",
        ),
        ({"WEIGHTS": {"replica1": "1"}}, "E004 REPLICATION['WEIGHTS']['replica1'] must be float, not str."),
        (
            {"WEIGHTS": {"replica1": float("nan")}},
            "E004 REPLICATION['WEIGHTS']['replica1'] must be from 0 to 1000000000, not nan.",
        ),
        (
            {"WEIGHTS": {"replica9": 1}},
            "E005 REPLICATION['WEIGHTS'] names 'replica9', which REPLICATION['REPLICAS'] does not.",
        ),
        ({"PRIMARY_READ_APPS": "sessions"}, "E004 REPLICATION['PRIMARY_READ_APPS'] must be collection, not str."),
        ({"GUARD": "0"}, "E004 REPLICATION['GUARD'] must be bool, not str."),
        ({"WRITERS": 0}, "E004 REPLICATION['WRITERS'] must be from 1 to 1000000000, not 0."),
        ({"POSITIONS": "none"}, "E004 REPLICATION['POSITIONS'] is 'none', which CACHES does not name."),
        (
            {"USER": "nothing.here"},
            "E004 REPLICATION['USER'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        ({"POSITIONS": "limits", "USER": None}, "E005 REPLICATION['POSITIONS'] needs REPLICATION['USER']."),
        ({"EXPOSE_TOPOLOGY": 1}, "E004 REPLICATION['EXPOSE_TOPOLOGY'] must be bool, not int."),
        ({"REPLICAS": ["default"]}, "E005 REPLICATION['REPLICAS'] names 'default', which is the primary."),
        ({"REPLICAS": ["replica1", "replica1"]}, "E004 REPLICATION['REPLICAS'] has 'replica1' twice."),
        (
            {"PRIMARY_READ_APPS": ["none"]},
            "E004 REPLICATION['PRIMARY_READ_APPS'][0] is 'none', which is the label of no application.",
        ),
        ({"POSITIONS": "local"}, "E004 REPLICATION['POSITIONS'] is 'local', which is no cache of django-redis."),
        ({"WEIGHT": {}}, "E002 REPLICATION['WEIGHT'] is no setting of scaleout.replication."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.REPLICATION = settings.REPLICATION | wrong
    assert complaints() == [f"scaleout.replication.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.REPLICATION = {}
    assert complaints() == [
        "scaleout.replication.E003 REPLICATION['REPLICAS'] is missing.",
    ]
