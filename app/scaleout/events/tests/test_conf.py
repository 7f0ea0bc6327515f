"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"CONSUMERS": ["made"]}, "E004 EVENTS['CONSUMERS'] must be mapping, not list."),
        (
            {"CONSUMERS": {"made": "notes.tasks.handle"}},
            "E004 EVENTS['CONSUMERS']['made'] must be collection, not str.",
        ),
        ({"QUEUE": None}, "E004 EVENTS['QUEUE'] must be str, not NoneType."),
        ({"QUEUES": "celery"}, "E004 EVENTS['QUEUES'] must be collection, not str."),
        (
            {"HEADERS": "nothing.here"},
            "E004 EVENTS['HEADERS'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        (
            {"SIGN": "nothing.here"},
            "E004 EVENTS['SIGN'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        ({"VERIFY": print}, "E004 EVENTS['VERIFY'] must be str, not builtin_function_or_method."),
        ({"QUEUE": ""}, "E004 EVENTS['QUEUE'] must not be empty."),
        ({"QUEUES": [""]}, "E004 EVENTS['QUEUES'][0] must not be empty."),
        ({"CONSUMERS": {"": ["a"]}}, "E004 EVENTS['CONSUMERS']: the key '' must not be empty."),
        ({"CONSUMERS": {"made": [""]}}, "E004 EVENTS['CONSUMERS']['made'][0] must not be empty."),
        ({"CONSUMER": {}}, "E002 EVENTS['CONSUMER'] is no setting of scaleout.events."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.EVENTS = settings.EVENTS | wrong
    assert complaints() == [f"scaleout.events.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.EVENTS = {}
    assert complaints() == [
        "scaleout.events.E003 EVENTS['CONSUMERS'] is missing.",
    ]
