"""Queries that find their shard by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

from django.db import models

from sharding import map as maps
from sharding.errors import CrossShardTransaction, ShardKeyRequired
from sharding.ids import take, take_for
from sharding.route import buckets_of_query
from sharding.scatter import Page, scatter, scatter_count
from sharding.transactions import fenced


class ShardedQuerySet[M: models.Model](models.QuerySet[M]):
    """A query set of one shard: the one that its conditions name, looked up when it is run."""

    _db: str | None

    @property
    def db(self) -> str:
        """The alias of the shard. Raises ShardKeyRequired if the conditions do not name one shard."""
        if self._db:
            return self._db
        buckets = buckets_of_query(self.query)
        if buckets is None:
            return super().db  # the router knows the object that a relation starts from, or refuses
        known = maps.current()
        aliases = {known.alias_of(bucket) for bucket in buckets} or {known.alias_of(0)}
        if len(aliases) > 1:
            raise ShardKeyRequired(
                f"these ids of {self.model.__name__} are on {len(aliases)} shards ({', '.join(sorted(aliases))}):"
                " ask for those of one shard, or ask all with .scatter()"
            )
        return aliases.pop()

    def for_key(self, key: int) -> Self:
        """Return the rows that belong to `key`: those of one user, say. Always on one shard."""
        model: Any = self.model
        return self.filter(**{model.shard_key: key})

    def in_bulk(self, id_list: Any = None, *, field_name: str = "pk") -> dict[Any, M]:
        """Do as Django does, on the shard of the ids."""
        where = self if id_list is None or self._db else self.using(self.filter(**{f"{field_name}__in": id_list}).db)
        return super(ShardedQuerySet, where).in_bulk(id_list, field_name=field_name)

    # ── all shards ──────────────────────────────────────────────────────────────────────────────────
    def scatter(self, limit: int = 100, after: int = 0, deadline: float | None = None) -> Page[M]:
        """Ask all shards at once for the `limit` rows that follow the id `after`, in the order of their ids.

        Ends within `deadline` seconds, or DEADLINE of `scatter.py`: what a shard did not give by then is missing, and
        the page says `partial`.
        """
        return scatter(self, limit, after, deadline)

    def scatter_count(self, deadline: float | None = None) -> tuple[int, bool]:
        """Count the rows on all shards; return the count, and whether a part is missing."""
        return scatter_count(self, deadline)

    # ── writes ──────────────────────────────────────────────────────────────────────────────────────
    def new_id(self, **key: int) -> int:
        """Return an id for a row that is made later: `Order.objects.new_id(user_id=7)`, `User.objects.new_id()`."""

        def once() -> int:
            bucket = _bucket(self.model(**key))
            return take(self._db or maps.current().alias_of(bucket), bucket)[0]

        return fenced(once)

    def create(self, **kwargs: Any) -> M:
        """Make an object and save it on its shard."""
        made = self.model(**kwargs)
        made.save(force_insert=True, using=self._db)
        return made

    def get_or_create(self, defaults: Any = None, **kwargs: Any) -> tuple[M, bool]:
        """Do as Django does, on the shard that `kwargs` name."""
        return fenced(lambda: super(ShardedQuerySet, self._on(kwargs)).get_or_create(defaults, **kwargs))

    def update_or_create(self, defaults: Any = None, create_defaults: Any = None, **kwargs: Any) -> tuple[M, bool]:
        """Do as Django does, on the shard that `kwargs` name."""
        return fenced(
            lambda: super(ShardedQuerySet, self._on(kwargs)).update_or_create(defaults, create_defaults, **kwargs)
        )

    def update(self, **kwargs: Any) -> int:
        """Do as Django does, on one shard."""
        return fenced(lambda: super(ShardedQuerySet, self).update(**kwargs))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Do as Django does, on one shard."""
        return fenced(lambda: super(ShardedQuerySet, self).delete())

    def bulk_create(self, objs: Iterable[M], *args: Any, across_shards: bool = False, **kwargs: Any) -> list[M]:
        """Insert the objects, which get ids where they have none, in one transaction.

        Raises CrossShardTransaction if they belong to several shards, unless `across_shards` says that it may be one
        transaction for each shard, of which some can fail when others have been committed.
        """
        made = list(objs)
        for part in self._by_shard(made, across_shards):
            fenced(partial(self._insert_on_shard, part, *args, **kwargs))
        return made

    def bulk_update(self, objs: Iterable[M], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        """Do as Django does, on one shard. Raises CrossShardTransaction if the objects belong to several."""
        changed = list(objs)

        def once() -> int:
            self._by_shard(changed, across_shards=False)
            where = self.using(self._alias_of(changed[0]))
            return super(ShardedQuerySet, where).bulk_update(changed, fields, *args, **kwargs)

        return fenced(once) if changed else 0

    update.alters_data = True  # type: ignore[attr-defined]  # as Django marks them for its templates
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _on(self, lookup: dict[str, Any]) -> Self:
        return self if self._db else self.using(self.filter(**lookup).db)

    def _alias_of(self, instance: M) -> str:
        if self._db:
            return self._db
        return maps.current().alias_of(_bucket(instance))

    def _by_shard(self, objs: Sequence[M], across_shards: bool) -> list[list[M]]:
        parts: dict[str, list[M]] = {}
        for one in objs:
            parts.setdefault(self._alias_of(one), []).append(one)
        if len(parts) > 1 and not across_shards:
            raise CrossShardTransaction(
                f"these {len(objs)} objects belong to {', '.join(sorted(parts))}: no transaction covers several shards."
                " Write those of one shard at a time; for bulk_create, across_shards=True does that"
            )
        return [part for _, part in sorted(parts.items())]

    def _insert_on_shard(self, objs: Sequence[M], *args: Any, **kwargs: Any) -> None:
        alias = self._alias_of(objs[0])
        without = [one for one in objs if one.pk is None]
        counts = Counter(_bucket(one) for one in without)
        ids = {bucket: iter(taken) for bucket, taken in take_for(alias, counts.items()).items()}
        for one in without:
            one.pk = next(ids[_bucket(one)])
        insert: Callable[..., Any] = super(ShardedQuerySet, self.using(alias)).bulk_create
        insert(objs, *args, **kwargs)


def _bucket(instance: Any) -> int:
    """Return the bucket of an object; a new one that begins a bucket keeps the one that was chosen for it."""
    if instance.id is None and instance.shard_key == "id":
        return int(instance.__dict__.setdefault("_new_bucket", instance.choose_bucket()))
    return int(instance.choose_bucket())
