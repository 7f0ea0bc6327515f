"""The base of every sharded model."""

from __future__ import annotations

import random
from typing import Any, ClassVar, Self

from django.db import models

from scaleout.sharding import shard_map
from scaleout.sharding.errors import CrossShardRelation
from scaleout.sharding.ids import BUCKETS, bucket_of, take
from scaleout.sharding.inner import refuse_in_objects
from scaleout.sharding.manager import BaseManager, ShardedManager
from scaleout.sharding.pruning import refuse_other_bucket
from scaleout.sharding.transactions import fenced


class ShardedModel(models.Model):
    """A row that lives on the shard of its bucket, which its id names.

    `shard_key` names the attribute of the owner: `user_id` puts all orders of a user into the
    user's bucket. A model whose shard key is `id` starts buckets: each new row gets a random one.
    """

    shard_key: ClassVar[str] = "id"

    id = models.BigIntegerField(primary_key=True, editable=False)

    objects: ClassVar[ShardedManager[Self]] = ShardedManager()
    # Django's own manager: for a foreign key, `refresh_from_db()`, `save()`. Unlike `objects` it
    # never filters.
    _rows: ClassVar[BaseManager[Self]] = BaseManager()

    class Meta:
        abstract = True
        base_manager_name = "_rows"

    @property
    def bucket(self) -> int | None:
        """The bucket of this object; None without an id and a shard key."""
        # Not by getattr: that would load a deferred attribute, and to load it needs the bucket.
        known = self.__dict__.get("id")
        if known is None:
            known = self.__dict__.get(self.shard_key)
        return None if known is None else bucket_of(known)

    def choose_bucket(self) -> int:
        """Return the bucket that this object belongs to; a random one if it starts a bucket.

        Raises CrossShardRelation if its id and its shard key disagree.
        """
        # As Django does: a related object may have been saved since.
        self._prepare_related_fields_for_save(operation_name="save")  # type: ignore[attr-defined]  # not in the stubs
        key = self.__dict__.get(self.shard_key)
        if key is None:
            if self.id is not None:
                return self._with_relations(bucket_of(self.id))
            if self.shard_key != "id":
                raise CrossShardRelation(
                    f"a new {type(self).__name__} needs its {self.shard_key}: it says on which shard"
                )
            return random.randrange(BUCKETS)  # noqa: S311 - no secret
        if self.id is not None and bucket_of(self.id) != bucket_of(key):
            raise CrossShardRelation(f"{self!r} cannot belong to {self.shard_key} {key}, which is in another bucket")
        return self._with_relations(bucket_of(key))

    def _with_relations(self, bucket: int) -> int:
        """Return the bucket. Raises CrossShardRelation if the object refers to a row of another
        bucket.
        """
        for field in self._meta.concrete_fields:
            if isinstance(field, models.ForeignKey):
                refuse_other_bucket(field, self.__dict__.get(field.attname), {bucket})
        return bucket

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the object on its shard; give it an id first if it has none.

        Waits up to 1.5 s for a bucket that is moving; raises BucketMoved if that is not enough, or
        in a transaction.
        """
        if self.id is not None:
            fenced(lambda: self._save_on_shard(*args, **kwargs))
            return
        # False for a deleted object, which is inserted like a new one. Django sets it when the row
        # is inserted.
        adding, self._state.adding = self._state.adding, True

        def once() -> None:
            self.id = None  # as it was
            self._save_on_shard(*args, **kwargs)

        try:
            fenced(once)
        finally:
            if self._state.adding:  # not inserted
                self.id, self._state.adding = None, adding  # as they were

    def _save_on_shard(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        bucket = self.choose_bucket()
        alias = using or shard_map.current().alias_of(bucket)
        if self.id is None and not kwargs.get("force_update") and kwargs.get("update_fields") is None:
            self.id = take(alias, bucket)[0]
            # Else Django would search for the row first.
            kwargs["force_insert"] = kwargs.get("force_insert") or True
        refuse_in_objects([self], alias)
        super().save(*args, using=alias, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the object, and its dependent rows, on its shard."""
        return fenced(lambda: super(ShardedModel, self).delete(*args, **kwargs))


# Models inherit the manager from this class. With one from its Meta their migrations would name it,
# too.
del ShardedModel.Meta.base_manager_name
