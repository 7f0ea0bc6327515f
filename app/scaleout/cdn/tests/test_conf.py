"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"TAG_HEADER": "Tags"}, "E004 CDN['TAG_HEADER'] must be one of Surrogate-Key, Cache-Tag, not 'Tags'."),
        ({"PERSONAL_HEADERS": "X-Read-After"}, "E004 CDN['PERSONAL_HEADERS'] must be collection, not str."),
        (
            {"PURGE_URL": "http://edge/path"},
            "E004 CDN['PURGE_URL'] must be a URL such as http://edge:8081, not 'http://edge/path'.",
        ),
        ({"PURGE_SECRET": b"secret"}, "E004 CDN['PURGE_SECRET'] must be str, not bytes."),
        ({"PURGE_URL": "http://edge", "PURGE_SECRET": ""}, "E005 CDN['PURGE_URL'] needs CDN['PURGE_SECRET']."),
        ({"PURGE_SECRET": "a\nb"}, "E004 CDN['PURGE_SECRET'] must be one line without control characters."),
        ({"PURGE_ADDRESS": ""}, "E002 CDN['PURGE_ADDRESS'] is no setting of scaleout.cdn."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.CDN = settings.CDN | wrong
    assert complaints() == [f"scaleout.cdn.{said}"]
