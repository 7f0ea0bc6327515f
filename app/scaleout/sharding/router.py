"""Django's database router for sharded models: by the object at hand, or an error."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from scaleout.sharding import shard_map
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import CrossShardRelation
from scaleout.sharding.pruning import is_sharded, key_required


class ShardRouter:
    """Send the queries of an object to the shard of its bucket. It ignores other models.

    Query sets find their shard by themselves (`ShardedQuerySet`); only queries without conditions
    arrive here.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the alias of the shard, or None for a new object without a shard.

        Raises ShardKeyRequired without an object.
        """
        if not is_sharded(model):
            return None
        instance = hints.get("instance")
        if isinstance(instance, ShardedModel):
            bucket = instance.bucket
            if bucket is not None:
                return shard_map.current().alias_of(bucket)
            if instance._state.db in conf().shards.values():
                return instance._state.db
            if instance._state.adding:
                return None  # Django asks when it relates the object to another one; save() decides
        raise key_required(model)

    db_for_write = db_for_read

    def allow_relation(self, first: Model, second: Model, **_hints: Any) -> bool | None:
        """Allow relations inside a bucket. Raises CrossShardRelation for two objects of different
        buckets.
        """
        if not isinstance(first, ShardedModel) or not isinstance(second, ShardedModel):
            return False if is_sharded(type(first)) or is_sharded(type(second)) else None
        if first.bucket is not None and second.bucket is not None and first.bucket != second.bucket:
            raise CrossShardRelation(
                f"{first!r} is in bucket {first.bucket} and {second!r} in bucket {second.bucket}: only what belongs to"
                " one shard key can be related, for buckets move one by one"
            )
        return True

    def _get_shard(self, key: int) -> str:
        """Return the alias of the shard that holds `key`, a user's id or any id. Textbooks use this
        name.
        """
        return shard_map.current().alias_for(key)
