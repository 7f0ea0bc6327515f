"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ERROR_PAGES": "no"}, "E004 PROBLEMS['ERROR_PAGES'] must be bool, not str."),
        ({"REQUIRE_IF_MATCH": 1}, "E004 PROBLEMS['REQUIRE_IF_MATCH'] must be bool, not int."),
        ({"PAGES": True}, "E002 PROBLEMS['PAGES'] is no setting of scaleout.problems."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.PROBLEMS = settings.PROBLEMS | wrong
    assert complaints() == [f"scaleout.problems.{said}"]
