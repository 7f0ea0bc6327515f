"""The names that textbooks use, for models whose shard key is a user's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sharding.queryset import ShardedQuerySet

if TYPE_CHECKING:
    from sharding.base import ShardedModel


class ByUser[M: ShardedModel](ShardedQuerySet[M]):
    """`for_user` and `get_by_user_id`, beside the conditions that find their shard by themselves."""

    def for_user(self, user_id: int) -> Self:
        """Return what belongs to the user: one shard."""
        return self.for_key(user_id)

    def get_by_user_id(self, user_id: int) -> M:
        """Return the one row that belongs to the user. Raises DoesNotExist and MultipleObjectsReturned."""
        return self.for_key(user_id).get()
