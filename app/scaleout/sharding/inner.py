"""Queries inside of a query: a subquery sees the rows of one shard only.

The same holds for the parts of a union. Three kinds are complete on that shard: a query that names
the shard's bucket itself; a query that is tied to the outer row, whose bucket is there; and a query
with `.using()`. All others are refused, because their answer would lack rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import router
from django.db.models import Model, QuerySet, Subquery
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query
from django.utils.tree import Node

from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import ShardKeyRequired
from scaleout.sharding.pruning import buckets_of_query, carries_bucket, conditions, is_sharded


def refuse_foreign(query: Query, alias: str | None) -> None:
    """Raise ShardKeyRequired for a query inside of `query` that is not complete on the shard
    `alias`.

    None stands for each shard in turn, as `scatter()` queries them.
    """
    for part in query.combined_queries:
        _refuse(part, None, alias)
    refuse_in(_expressions(query), alias)


def refuse_in(expressions: Iterable[Any], alias: str | None) -> None:
    """Do the same for resolved expressions."""
    for expression in expressions:
        for inner, lookup in _queries(expression):
            _refuse(inner, lookup, alias)


def refuse_values(query: Query, values: Iterable[Any], alias: str | None) -> None:
    """Do the same for values to be used with `query`, which may be expressions."""
    refuse_in((value.resolve_expression(query.clone()) for value in values if _holds_query(value)), alias)


def refuse_in_objects(objects: Iterable[Model], alias: str) -> None:
    """Do the same for the attributes of objects to be saved."""
    for one in objects:
        if any(map(_holds_query, one.__dict__.values())):
            refuse_values(Query(type(one)), one.__dict__.values(), alias)


def _expressions(query: Query) -> Iterator[Any]:
    """Yield each part of `query` that may hold another query."""
    yield query.where
    yield from query.annotations.values()
    yield from query.select
    if isinstance(query.group_by, tuple):
        yield from query.group_by
    ordered: list[Any] = list(query.order_by)
    yield from (item.resolve_expression(query.clone()) for item in ordered if _holds_query(item))
    for join in query.alias_map.values():
        if (filtered := getattr(join, "filtered_relation", None)) is not None:
            yield filtered.resolved_condition


def _queries(expression: Any) -> Iterator[tuple[Query, In[Any] | None]]:
    """Yield the queries in an expression, each with its `IN` condition if it is the list of one."""
    if isinstance(expression, Query):
        yield expression, None
    elif isinstance(expression, In) and (inner := _query_of(expression.rhs)) is not None:
        yield inner, expression
        yield from _queries(expression.lhs)
    elif isinstance(expression, list | tuple | set | frozenset):
        for one in expression:
            yield from _queries(one)
    elif hasattr(expression, "get_source_expressions"):
        yield from _queries(expression.get_source_expressions())
        if isinstance(rhs := getattr(expression, "rhs", None), list | tuple | set | frozenset):
            yield from _queries(rhs)


def _holds_query(value: Any) -> bool:
    """Return whether a value is an unresolved expression with a query in it."""
    if isinstance(value, QuerySet | Query | Subquery):
        return True
    if isinstance(value, Node):  # a Q: pairs of a name and a value, and nested Qs
        return any(map(_holds_query, value.children))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_query, value))
    return hasattr(value, "get_source_expressions") and any(map(_holds_query, value.get_source_expressions()))


def _query_of(value: Any) -> Query | None:
    if isinstance(value, Subquery):
        value = value.query
    return value if isinstance(value, Query) else None


def _refuse(inner: Query, lookup: In[Any] | None, alias: str | None) -> None:
    if inner.combinator:
        for part in inner.combined_queries:
            _refuse(part, None, alias)
        return
    if not _complete(inner, lookup, alias):
        raise ShardKeyRequired(
            f"the query of {inner.model.__name__} inside of this one may need rows that are not on"  # type: ignore[union-attr]
            f" {alias or 'each shard'}: run it first and pass its result as a list, or tie it to the outer row"
            " (OuterRef of the id or the shard key)"
        )
    refuse_foreign(inner, alias)


def _complete(inner: Query, lookup: In[Any] | None, alias: str | None) -> bool:
    """Return whether the shard `alias` has all rows that `inner` may need."""
    chosen = getattr(inner, "_db", None)
    if chosen is not None:
        return bool(chosen == alias)
    if not is_sharded(inner.model):
        return _has_table(alias, inner.model)
    if _is_tied(inner) or (lookup is not None and _is_list_of_own(inner, lookup)):
        return True
    buckets = buckets_of_query(inner)
    return buckets is not None and all(shard_map.current().alias_of(bucket) == alias for bucket in buckets)


def _has_table(alias: str | None, model: Any) -> bool:
    return all(router.allow_migrate_model(one, model) for one in ([alias] if alias else conf().shards.values()))


def _is_tied(inner: Query) -> bool:
    """Return whether the rows of `inner` are in the outer row's bucket: equal ids or shard keys."""
    for condition in conditions(inner.where):
        ends = (condition.lhs, condition.rhs) if isinstance(condition, Exact) else ()
        if ends and all(isinstance(end, Col) and carries_bucket(end.target) for end in ends):
            inside = [end.alias in inner.alias_map for end in ends]
            if inside[0] != inside[1]:
                return True
    return False


def _is_list_of_own(inner: Query, lookup: In[Any]) -> bool:
    """Return whether `inner` lists ids or shard keys for an outer one, of which only its bucket's
    matter.
    """
    names = [lookup.lhs, *inner.select]
    grouped = inner.group_by if isinstance(inner.group_by, tuple) else inner.select
    return (
        len(names) == 2  # the outer and the inner column
        and not inner.annotation_select
        and not inner.is_sliced
        and all(isinstance(name, Col) and carries_bucket(name.target) for name in names)
        and any(isinstance(one, Col) and carries_bucket(one.target) for one in grouped)
    )
