"""Query sets that find their shard by their conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from operator import or_
from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.sql import Query

from scaleout.sharding import shard_map
from scaleout.sharding.errors import CrossShardTransaction, ShardKeyRequired
from scaleout.sharding.ids import BUCKETS, SEQUENCE_BITS, bucket_of, take, take_for
from scaleout.sharding.inner import refuse_foreign, refuse_in_objects, refuse_values
from scaleout.sharding.models import Bucket
from scaleout.sharding.pruning import buckets_of_query, key_required, narrow, refuse_other_bucket, shard_aliases
from scaleout.sharding.scatter import Page, refuse_shaped, scatter, scatter_count
from scaleout.sharding.transactions import fenced

BATCH = 500  # conditions of one query


def keep_held(query: Query) -> None:
    """Leave out the rows of buckets that the shard hides: before a slice, and in each part of a
    union.
    """
    for part in query.combined_queries:
        keep_held(part)
    if not query.combinator:
        number = OuterRef("id").bitrightshift(SEQUENCE_BITS).bitand(BUCKETS - 1)
        query.add_q(Q(Exists(Bucket.objects.filter(bucket=number, state__in=Bucket.SHOWN))))


class ShardedQuerySet[M: models.Model](models.QuerySet[M]):
    """A query set of one shard, which its conditions name and which is looked up when it runs."""

    _db: str | None

    @property
    def db(self) -> str:
        """The alias of the shard.

        Raises ShardKeyRequired if the conditions name no single shard, or if an inner query needs
        others.
        """
        alias = self._db or self._find()
        refuse_foreign(self.query, alias)
        return alias

    def _find(self) -> str:
        buckets = buckets_of_query(self.query)
        if buckets is None:
            alias = super().db  # the router knows the object that a relation starts from, or refuses
            if alias not in shard_aliases():
                raise key_required(self.model)
            return alias
        known = shard_map.current()
        aliases = {known.alias_of(bucket) for bucket in buckets} or {known.alias_of(0)}
        if len(aliases) > 1:
            raise ShardKeyRequired(
                f"these ids of {self.model.__name__} are on {len(aliases)} shards ({', '.join(sorted(aliases))}):"
                " ask for those of one shard, or ask all with .scatter()"
            )
        return aliases.pop()

    def _fetch_all(self) -> None:
        """Query each shard for its part where Django collects the relations of many objects
        (`prefetch_related`).
        """
        rows: Any = self
        if rows._result_cache is None and self._db is None and "instance" in rows._hints:
            known, buckets = shard_map.current(), buckets_of_query(self.query) or set()
            aliases = {known.alias_of(bucket) for bucket in buckets}
            if len(aliases) > 1:
                rows._result_cache = [row for alias in sorted(aliases) for row in self._part(alias, known)]
                rows._prefetch_done = True
        super()._fetch_all()

    def _part(self, alias: str, known: shard_map.ShardMap) -> Self:
        """Return this query's rows on one of its shards, without old copies of a move."""
        part = self._at(alias)
        narrow(part.query.where, lambda bucket: known.alias_of(bucket) == alias)
        return part

    def for_key(self, key: int) -> Self:
        """Return the rows of `key`, such as those of one user. Always on one shard."""
        model: Any = self.model
        return self.filter(**{model.shard_key: key})

    def in_bulk(self, id_list: Any = None, *, field_name: str = "pk") -> dict[Any, M]:
        """Do as Django does, on the shard of the ids."""
        where = self if id_list is None or self._db else self._at(self.filter(**{f"{field_name}__in": id_list}).db)
        return super(ShardedQuerySet, where).in_bulk(id_list, field_name=field_name)

    def using(self, alias: str | None) -> Self:
        """Return the rows of that shard, without copies that a move brings or has left.

        Inside of another query this one keeps its shard. A query set of this shard stays as it is.
        """
        chosen = self._at(alias)
        if alias != self._db and alias in shard_aliases():
            keep_held(chosen.query)
        return chosen

    def _at(self, alias: str | None) -> Self:
        """Return these rows of a shard in any state of their buckets: the caller knows that the
        shard holds them.
        """
        chosen = super().using(alias)
        for query in (chosen.query, *chosen.query.combined_queries):
            query._db = alias  # as Django does for a query set that is a value
        return chosen

    def aggregate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do as Django does, on one shard."""
        refuse_values(self.query, [*args, *kwargs.values()], self.db)
        return super().aggregate(*args, **kwargs)

    # ── all shards ────────────────────────────────────────────────────────────────────────────────
    def scatter(self, limit: int = 100, after: int = 0, deadline: float | None = None) -> Page[M]:
        """Query all shards at once for the `limit` rows after the id `after`, in the order of their
        ids.

        Ends within `deadline` seconds, by default DEADLINE of `scatter.py`: rows of slower shards
        are missing then, and the page says `partial`.
        """
        refuse_shaped(self)
        rows = self.filter(id__gt=after).order_by("id")
        return scatter(lambda alias, hides: list(rows._shown(alias, hides)[: limit + 1]), limit, deadline)

    def scatter_count(self, deadline: float | None = None) -> tuple[int, bool]:
        """Count the rows on all shards; return the count, and whether a part is missing."""
        refuse_shaped(self)
        rows = self.order_by()
        return scatter_count(lambda alias, hides: rows._shown(alias, hides).count(), deadline)

    def _shown(self, alias: str, hides: bool) -> Self:
        """Return these rows of a shard; if it hides some, without half copied and old ones."""
        return self.using(alias) if hides else self._at(alias)

    # ── writes ────────────────────────────────────────────────────────────────────────────────────
    def new_id(self, **key: int) -> int:
        """Return an id for a later row: `Order.objects.new_id(user_id=7)`,
        `User.objects.new_id()`.
        """

        def once() -> int:
            bucket = _bucket(self.model(**key))
            return take(self._db or shard_map.current().alias_of(bucket), bucket)[0]

        return fenced(once)

    def create(self, **kwargs: Any) -> M:
        """Create an object and save it on its shard."""
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

        def once() -> int:
            refuse_values(self.query, kwargs.values(), self.db)
            self._refuse_other_buckets(kwargs)
            return super(ShardedQuerySet, self).update(**kwargs)

        return fenced(once)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Do as Django does, on one shard."""
        return fenced(lambda: super(ShardedQuerySet, self).delete())

    def bulk_create(  # noqa: PLR0913, PLR0917 - Django's own
        self,
        objs: Iterable[M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Iterable[str] | None = None,
        unique_fields: Iterable[str] | None = None,
        *,
        across_shards: bool = False,
    ) -> list[M]:
        """Insert the objects in one transaction; those without an id get one.

        Raises CrossShardTransaction if they belong to several shards, unless `across_shards` allows
        one transaction for each shard, of which some can fail after others have been committed.
        """
        made = list(objs)
        left = list(made)
        options = {
            "batch_size": batch_size,
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "update_fields": update_fields and list(update_fields),
            "unique_fields": unique_fields and list(unique_fields),
        }

        def once() -> None:
            while left:  # grouped again each time: one of the buckets may have moved to another shard
                part = self._by_shard(left, across_shards)[0]
                self._insert_on_shard(part, options)
                done = {id(one) for one in part}
                left[:] = [one for one in left if id(one) not in done]

        fenced(once)
        return made

    def bulk_update(self, objs: Iterable[M], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        """Do as Django does, on one shard. Raises CrossShardTransaction if the objects belong to
        several.
        """
        changed, names = list(objs), list(fields)
        if any(one.pk is None for one in changed):
            return super().bulk_update(changed, names, *args, **kwargs)  # which refuses them
        bucket = partial(_bucket_of_row, written=[self.model._meta.get_field(name) for name in names])

        def once() -> int:
            self._by_shard(changed, False, bucket)
            where = self._at(self._alias_of(changed[0], bucket))
            return super(ShardedQuerySet, where).bulk_update(changed, names, *args, **kwargs)

        return fenced(once) if changed else 0

    update.alters_data = True  # type: ignore[attr-defined]  # as Django marks them for its templates
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _refuse_other_buckets(self, values: dict[str, Any]) -> None:
        fields = {field.name: field for field in self.model._meta.concrete_fields}
        fields |= {field.attname: field for field in fields.values()}
        for name, value in values.items():
            if name in fields:
                refuse_other_bucket(fields[name], value, buckets_of_query(self.query))

    def _on(self, lookup: dict[str, Any]) -> Self:
        return self if self._db else self._at(self.filter(**lookup).db)

    def _alias_of(self, instance: M, bucket: Callable[[Any], int] | None = None) -> str:
        if self._db:
            return self._db
        return shard_map.current().alias_of((bucket or _bucket)(instance))

    def _by_shard(
        self, objs: Sequence[M], across_shards: bool, bucket: Callable[[Any], int] | None = None
    ) -> list[list[M]]:
        parts: dict[str, list[M]] = {}
        for one in objs:
            parts.setdefault(self._alias_of(one, bucket), []).append(one)
        if len(parts) > 1 and not across_shards:
            raise CrossShardTransaction(
                f"these {len(objs)} objects belong to {', '.join(sorted(parts))}: no transaction covers several shards."
                " Write those of one shard at a time; for bulk_create, across_shards=True does that"
            )
        return [part for _, part in sorted(parts.items())]

    def _insert_on_shard(self, objs: Sequence[M], options: dict[str, Any]) -> None:
        alias = self._alias_of(objs[0])
        without = [one for one in objs if one.pk is None]
        counts = Counter(_bucket(one) for one in without)
        ids = {bucket: iter(taken) for bucket, taken in take_for(alias, counts).items()}
        for one in without:
            one.pk = next(ids[_bucket(one)])
        insert: Callable[..., Any] = super(ShardedQuerySet, self._at(alias)).bulk_create
        try:
            refuse_in_objects(objs, alias)
            insert(objs, **options)
        except BaseException:
            for one in without:
                if one._state.adding:  # not inserted: as it was
                    one.pk = None
            raise
        if options["ignore_conflicts"]:
            for one in without:  # as Django leaves them: unknown which were inserted
                one.pk, one._state.adding = None, True
        elif options["update_conflicts"]:
            self._at(alias)._read_ids(without, options["unique_fields"])

    def _read_ids(self, objs: Sequence[M], unique: Iterable[str]) -> None:
        """Give the objects the ids of their rows: an existing row has kept its own."""
        fields: list[Any] = [self.model._meta.get_field("id" if name == "pk" else name) for name in unique]
        names = [field.attname for field in fields]
        found: dict[tuple[Any, ...], Any] = {}
        for first in range(0, len(objs), BATCH):
            which = [Q(**{name: getattr(one, name) for name in names}) for one in objs[first : first + BATCH]]
            for *values, pk in self.filter(reduce(or_, which)).values_list(*names, "pk"):
                found[tuple(values)] = pk
        for one in objs:
            one.pk = found.get(tuple(getattr(one, name) for name in names), one.pk)


class AnyRowQuerySet[M: models.Model](ShardedQuerySet[M]):
    """Django's own query set of a known object: the fence checks its writes."""

    def using(self, alias: str | None) -> Self:
        """Do as Django does."""
        return self._at(alias)


def _bucket(instance: Any) -> int:
    """Return the bucket of an object; a new one that starts a bucket keeps the bucket chosen for
    it.
    """
    if instance.id is None and instance.shard_key == "id":
        return int(instance.__dict__.setdefault("_new_bucket", instance.choose_bucket()))
    return int(instance.choose_bucket())


def _bucket_of_row(instance: Any, written: Sequence[Any]) -> int:
    """Return the bucket of an object that has a row. The fields that are not `written` do not
    matter, as with Django: what they name may have been deleted since.

    Raises CrossShardRelation if one of `written` names a row of another bucket.
    """
    instance._prepare_related_fields_for_save(operation_name="bulk_update", fields=written)
    bucket = bucket_of(instance.pk)
    for field in written:
        refuse_other_bucket(field, instance.__dict__.get(field.attname), {bucket})
    return bucket
