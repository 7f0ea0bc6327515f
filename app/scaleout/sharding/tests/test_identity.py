"""A shard knows its own name."""

from __future__ import annotations

import pytest

from scaleout.sharding.models import ShardIdentity, ShardMismatchError

pytestmark = pytest.mark.django_db(databases=["shard1"])


def test_a_new_shard_takes_the_name_of_its_alias_and_keeps_it() -> None:
    ShardIdentity.claim("shard1")
    ShardIdentity.claim("shard1")
    assert [row.name for row in ShardIdentity.objects.using("shard1")] == ["shard1"]


def test_a_shard_with_another_name_is_refused() -> None:
    ShardIdentity.objects.using("shard1").create(name="shard2")
    with pytest.raises(ShardMismatchError, match="says that it is shard2"):
        ShardIdentity.claim("shard1")
