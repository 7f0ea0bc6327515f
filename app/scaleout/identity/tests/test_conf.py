"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"KEYRING": "pem"}, "E004 IDENTITY['KEYRING'] must be keyring, not str."),
        ({"CACHE": "none"}, "E004 IDENTITY['CACHE'] is 'none', which CACHES does not name."),
        ({"CACHE": "local"}, "E005 IDENTITY['CACHE'] is 'local', which is no cache of django-redis."),
        ({"CASH": ""}, "E002 IDENTITY['CASH'] is no setting of scaleout.identity."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.IDENTITY = settings.IDENTITY | wrong
    assert complaints() == [f"scaleout.identity.{said}"]


def test_check_names_each_required_setting_that_is_missing(settings: Any) -> None:
    settings.IDENTITY = {}
    assert complaints() == [
        "scaleout.identity.E003 IDENTITY['KEYRING'] is missing.",
    ]
