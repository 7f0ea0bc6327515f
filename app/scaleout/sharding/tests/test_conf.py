"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"SHARDS": ["shard0"]}, "E004 SHARDING['SHARDS'] must be mapping, not list."),
        ({"SHARDS": {"0": "shard0"}}, "E004 SHARDING['SHARDS']: the key '0' must be int, not str."),
        ({"SHARDS": {0: "none"}}, "E004 SHARDING['SHARDS'][0] is 'none', which DATABASES does not name."),
        ({"GROUPS": {"none": {}}}, "E004 SHARDING['GROUPS']: the key 'none' is 'none', which DATABASES does not name."),
        ({"SHARDS": {-1: "shard0"}}, "E004 SHARDING['SHARDS']: the key -1 must be from 0 to 32767, not -1."),
        ({"SHARDS": {32768: "shard0"}}, "E004 SHARDING['SHARDS']: the key 32768 must be from 0 to 32767, not 32768."),
        ({"SHARDS": {0: "shard0", 1: "shard0"}}, "E004 SHARDING['SHARDS'] has 'shard0' twice."),
        (
            {"GROUPS": {"default": {0: "shard0", 1: "shard0"}}},
            "E004 SHARDING['GROUPS']['default'] has 'shard0' twice.",
        ),
        ({"OUTBOX": 7}, "E004 SHARDING['OUTBOX'] must be str, not int."),
        ({"SHARD": {}}, "E002 SHARDING['SHARD'] is no setting of scaleout.sharding."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.SHARDING = settings.SHARDING | wrong
    assert complaints() == [f"scaleout.sharding.{said}"]
