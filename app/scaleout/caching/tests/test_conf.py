"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"SOURCE": "nothing"}, "E004 CACHING['SOURCE'] cannot be imported: No module named 'nothing'."),
        ({"KEY": b"secret"}, "E004 CACHING['KEY'] must be str, not bytes."),
        ({"PICKLES": 0}, "E004 CACHING['PICKLES'] must be bool, not int."),
        ({"WARMERS": "front-page"}, "E004 CACHING['WARMERS'] must be collection, not str."),
        ({"RELEASE": 7}, "E004 CACHING['RELEASE'] must be str, not int."),
        ({"EXPOSE_TOPOLOGY": "no"}, "E004 CACHING['EXPOSE_TOPOLOGY'] must be bool, not str."),
        ({"PICKLE": False}, "E002 CACHING['PICKLE'] is no setting of scaleout.caching."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.CACHING = settings.CACHING | wrong
    assert complaints() == [f"scaleout.caching.{said}"]
