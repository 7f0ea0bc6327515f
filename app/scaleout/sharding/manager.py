"""The manager of a sharded model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.db import models

from scaleout.sharding.queryset import AnyRowQuerySet, ShardedQuerySet
from scaleout.sharding.scatter import Page


class ShardedManager[M: models.Model](models.Manager[M]):
    """The manager of a sharded model, which returns `ShardedQuerySet`s."""

    _queryset_class = ShardedQuerySet

    def get_queryset(self) -> ShardedQuerySet[M]:
        """Return all rows: narrow them down to one shard before a query."""
        rows = cast("ShardedQuerySet[M]", super().get_queryset())
        alias, rows._db = rows._db, None  # for `using`, which reads the shard's buckets
        return rows.using(alias) if alias else rows

    def all(self) -> ShardedQuerySet[M]:
        """Do as Django does."""
        return self.get_queryset()

    def filter(self, *args: Any, **kwargs: Any) -> ShardedQuerySet[M]:
        """Do as Django does."""
        return self.get_queryset().filter(*args, **kwargs)

    def exclude(self, *args: Any, **kwargs: Any) -> ShardedQuerySet[M]:
        """Do as Django does. An exclusion names no shard."""
        return self.get_queryset().exclude(*args, **kwargs)

    def for_key(self, key: int) -> ShardedQuerySet[M]:
        """See `ShardedQuerySet`; so the others."""
        return self.get_queryset().for_key(key)

    def scatter(self, limit: int = 100, after: int = 0, deadline: float | None = None) -> Page[M]:
        """Query all shards."""
        return self.get_queryset().scatter(limit, after, deadline)

    def scatter_count(self, deadline: float | None = None) -> tuple[int, bool]:
        """Count on all shards."""
        return self.get_queryset().scatter_count(deadline)

    def new_id(self, **key: int) -> int:
        """Return an id for a later row."""
        return self.get_queryset().new_id(**key)

    def bulk_create(self, objs: Iterable[M], *args: Any, across_shards: bool = False, **kwargs: Any) -> list[M]:
        """Insert many."""
        return self.get_queryset().bulk_create(objs, *args, across_shards=across_shards, **kwargs)


class BaseManager[M: models.Model](ShardedManager[M]):
    """The manager that Django itself uses (`Model._base_manager`)."""

    _queryset_class = AnyRowQuerySet
