"""Which buckets a query is about: read from its conditions."""

from __future__ import annotations

from typing import Any

from django.db.models import Field, Model
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query
from django.db.models.sql.where import AND, NothingNode, WhereNode

from sharding.ids import bucket_of


def is_sharded(model: Any) -> bool:
    """Return whether the rows of `model` are spread over shards."""
    return isinstance(model, type) and issubclass(model, Model) and hasattr(model, "shard_key")


def carries_bucket(field: Field[Any, Any]) -> bool:
    """Return whether the values of a field have the bucket of their row: its id, its shard key, its relations."""
    model: Any = field.model
    if not is_sharded(model):
        return False
    return field.primary_key or field.attname == model.shard_key or is_sharded(field.related_model)


def _of_condition(condition: Any) -> set[int] | None:
    if not isinstance(condition, Exact | In) or not isinstance(condition.lhs, Col):
        return None
    if not carries_bucket(condition.lhs.target):
        return None
    values = condition.rhs if isinstance(condition, In) else [condition.rhs]
    if not isinstance(values, list | tuple | set | frozenset) or not all(isinstance(value, int) for value in values):
        return None  # a subquery, an expression
    return {bucket_of(value) for value in values}


def _of_where(node: Any) -> set[int] | None:
    if isinstance(node, NothingNode):
        return set()
    if not isinstance(node, WhereNode):
        return _of_condition(node)
    if node.negated or (node.connector != AND and len(node.children) > 1):
        return None
    found = [buckets for buckets in map(_of_where, node.children) if buckets is not None]
    # All of them hold, so each is an answer; the smallest asks the fewest shards.
    return min(found, key=len, default=None)


def buckets_of_query(query: Query) -> set[int] | None:
    """Return the buckets that rows of `query` can be in; None where its conditions do not say.

    Only what certainly holds counts: an equation or a list of values for an id or a shard key, joined by AND.
    Relations lead from bucket to the same bucket, so a condition on a joined sharded table counts as well.
    """
    if query.combinator:
        parts = [buckets_of_query(part) for part in query.combined_queries]
        known = [part for part in parts if part is not None]
        return set().union(*known) if len(known) == len(parts) else None
    return _of_where(query.where)
