"""A shard knows its own name."""

from __future__ import annotations

import pytest

from sharding.models import ShardIdentity, ShardMismatchError

pytestmark = pytest.mark.django_db(databases=["users_shard_1"])


def test_a_new_shard_takes_the_name_of_its_alias_and_keeps_it() -> None:
    ShardIdentity.claim("users_shard_1")
    ShardIdentity.claim("users_shard_1")
    assert [row.name for row in ShardIdentity.objects.using("users_shard_1")] == ["users_shard_1"]


def test_a_shard_with_another_name_is_refused() -> None:
    ShardIdentity.objects.using("users_shard_1").create(name="users_shard_2")
    with pytest.raises(ShardMismatchError, match="says that it is users_shard_2"):
        ShardIdentity.claim("users_shard_1")
