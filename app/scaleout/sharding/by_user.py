"""Query methods with the names of textbooks, for models whose shard key is a user's id.

The router has `ShardRouter._get_shard`.
"""

from __future__ import annotations

from django.db import models

from scaleout.sharding.manager import ShardedManager
from scaleout.sharding.queryset import ShardedQuerySet


class ByUser[M: models.Model](ShardedManager[M]):
    """`for_user` and `get_by_user_id`, beside conditions, which find their shard by themselves."""

    def for_user(self, user_id: int) -> ShardedQuerySet[M]:
        """Return the rows of the user, on one shard."""
        return self.for_key(user_id)

    def get_by_user_id(self, user_id: int) -> M:
        """Return the one row of the user. Raises DoesNotExist and MultipleObjectsReturned."""
        return self.for_key(user_id).get()
