"""The buckets that a query can reach, by its conditions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from copy import copy
from typing import Any

from django.db.models import Field, Model
from django.db.models.expressions import Col, ColPairs  # type: ignore[attr-defined]  # the stubs are older
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query
from django.db.models.sql.where import AND, NothingNode, WhereNode

from scaleout.sharding.conf import conf
from scaleout.sharding.errors import CrossShardRelation, ShardKeyRequired
from scaleout.sharding.ids import bucket_of


def is_sharded(model: Any) -> bool:
    """Return whether the rows of `model` are spread over shards."""
    return isinstance(model, type) and issubclass(model, Model) and hasattr(model, "shard_key")


def key_required(model: type[Model]) -> ShardKeyRequired:
    """Return the error that names the conditions that a query of `model` needs."""
    key = getattr(model, "shard_key", "id")
    names = "its id" if key == "id" else f"{key} or its id"
    return ShardKeyRequired(
        f"this query does not say on which shard the {model.__name__} is: filter by {names} (by =, or a list on one"
        " shard, joined by AND), or ask all shards with .scatter()"
    )


def shard_aliases() -> set[str]:
    """Return the aliases of all shards that this process can reach, those of other contexts
    included.
    """
    groups = [conf().shards, *conf().groups.values()]
    return {alias for shards in groups for alias in shards.values()}


def carries_bucket(field: Field[Any, Any]) -> bool:
    """Return whether a field's values name the bucket of their row: its id, its shard key, its
    relations.
    """
    model: Any = field.model
    if not is_sharded(model):
        return False
    return field.primary_key or field.attname == model.shard_key or is_sharded(field.related_model)


def refuse_other_bucket(field: Any, value: Any, buckets: Collection[int] | None) -> None:
    """Raise CrossShardRelation if rows of `buckets` would refer, by `field`, to a row of another
    bucket.

    None: rows of any bucket. The database checks an expression.
    """
    if isinstance(value, Model):
        value = value.pk
    if not isinstance(value, int) or not (carries_bucket(field) and not field.primary_key):
        return
    if buckets is None or any(bucket != bucket_of(value) for bucket in buckets):
        raise CrossShardRelation(
            f"{field.model.__name__}.{field.attname} cannot become {value}, which is in another bucket than the row:"
            " only what belongs to one shard key can be related, for buckets move one by one"
        )


def _named(condition: Any) -> dict[Any, int] | None:
    """Return the values of a condition on ids, shard keys or relations, each with its bucket."""
    if not isinstance(condition, Exact | In):
        return None
    several = isinstance(condition.lhs, ColPairs)  # as `prefetch_related` has it
    columns = condition.lhs.targets if several else [getattr(condition.lhs, "target", None)]
    place = next((place for place, field in enumerate(columns) if field and carries_bucket(field)), None)
    values = condition.rhs if isinstance(condition, In) else [condition.rhs]
    if place is None or not isinstance(condition.lhs, ColPairs | Col) or not isinstance(values, Collection):
        return None  # a subquery, an expression
    # Without None, which no row has and Django leaves out.
    keys = {value: value[place] if several else value for value in values if value is not None}
    if not all(isinstance(key, int) for key in keys.values()):
        return None
    return {value: bucket_of(key) for value, key in keys.items()}


def _of_condition(condition: Any) -> set[int] | None:
    if isinstance(condition, NothingNode):
        return set()
    named = _named(condition)
    return None if named is None else set(named.values())


def conditions(node: WhereNode) -> Iterator[Any]:
    """Yield the conditions that every row meets: those joined by AND."""
    if node.negated or (node.connector != AND and len(node.children) > 1):
        return
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from conditions(child)
        else:
            yield child


def buckets_of_query(query: Query) -> set[int] | None:
    """Return the buckets of the rows of `query`; None if its conditions do not say.

    Only certain conditions count: an equation or a list of values for an id or a shard key, joined
    by AND. Relations stay within a bucket, so a condition on a joined sharded table counts as well.
    """
    if query.combinator:
        parts = [buckets_of_query(part) for part in query.combined_queries]
        known = [part for part in parts if part is not None]
        return set().union(*known) if len(known) == len(parts) else None
    found = [buckets for buckets in map(_of_condition, conditions(query.where)) if buckets is not None]
    # All of them hold, so each is an answer; the smallest one needs the fewest shards.
    return min(found, key=len, default=None)


def narrow(node: WhereNode, wanted: Callable[[int], bool]) -> None:
    """Keep in the lists of `node` only the ids and shard keys of the bucket `wanted`. Changes
    `node`.
    """
    if node.negated or (node.connector != AND and len(node.children) > 1):
        return
    for position, child in enumerate(node.children):
        if isinstance(child, WhereNode):
            narrow(child, wanted)
        elif isinstance(child, In) and (named := _named(child)) is not None:
            node.children[position] = less = copy(child)
            less.rhs = [value for value, bucket in named.items() if wanted(bucket)]
