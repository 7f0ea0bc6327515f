"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"EXPOSE_TOPOLOGY": 1}, "E004 OBSERVABILITY['EXPOSE_TOPOLOGY'] must be bool, not int."),
        ({"REPLICA_NAME": None}, "E004 OBSERVABILITY['REPLICA_NAME'] must be str, not NoneType."),
        (
            {"MEASURES": ["nothing.here"]},
            "E004 OBSERVABILITY['MEASURES'][0] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        ({"ROUTINE_TASKS": "events.relay"}, "E004 OBSERVABILITY['ROUTINE_TASKS'] must be collection, not str."),
        ({"REPLICA_NAME": "a\nb"}, "E004 OBSERVABILITY['REPLICA_NAME'] must be one line without control characters."),
        ({"MEASURES": ["os.sep"]}, "E004 OBSERVABILITY['MEASURES'][0] must name a function, not str."),
        ({"MEASURE": []}, "E002 OBSERVABILITY['MEASURE'] is no setting of scaleout.observability."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.OBSERVABILITY = settings.OBSERVABILITY | wrong
    assert complaints() == [f"scaleout.observability.{said}"]
