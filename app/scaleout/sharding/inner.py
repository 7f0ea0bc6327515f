"""Queries inside of a query: a subquery sees the rows of one shard, so it may ask for no others.

The same holds for the parts of a union. Three kinds are right on the shard that is asked. Those
that name it themselves; those that are tied to the outer row, whose bucket is there; and those that
say `.using()` for it. All others are refused, for their answer would lack rows.
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

from scaleout.sharding import map as maps
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import ShardKeyRequired
from scaleout.sharding.route import buckets_of_query, carries_bucket, conditions, is_sharded


def refuse_foreign(query: Query, alias: str | None) -> None:
    """Raise ShardKeyRequired for a query inside of `query` that is not complete on the shard
    `alias`.

    None stands for each shard in turn, as `scatter()` asks them.
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
    """Do the same for values that are about to be used with `query`, of which some may be
    expressions.
    """
    refuse_in((value.resolve_expression(query.clone()) for value in values if _holds_query(value)), alias)


def refuse_in_objects(objects: Iterable[Model], alias: str) -> None:
    """Do the same for the attributes of objects that are to be saved."""
    for one in objects:
        if any(map(_holds_query, one.__dict__.values())):
            refuse_values(Query(type(one)), one.__dict__.values(), alias)


def _expressions(query: Query) -> Iterator[Any]:
    """Yield whatever of `query` can hold another one."""
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
    """Yield the queries in an expression; with each the condition `IN` whose list it is, if it is
    one.
    """
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
    """Return whether a value is an expression that is not resolved yet and has a query in it."""
    if isinstance(value, QuerySet | Query | Subquery):
        return True
    if isinstance(value, Node):  # a Q: pairs of a name and a value, and further ones
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
    return buckets is not None and all(maps.current().alias_of(bucket) == alias for bucket in buckets)


def _has_table(alias: str | None, model: Any) -> bool:
    return all(router.allow_migrate_model(one, model) for one in ([alias] if alias else conf().shards.values()))


def _is_tied(inner: Query) -> bool:
    """Return whether the rows of `inner` are in the bucket of the row outside: their ids or shard
    keys are equal.
    """
    for condition in conditions(inner.where):
        ends = (condition.lhs, condition.rhs) if isinstance(condition, Exact) else ()
        if ends and all(isinstance(end, Col) and carries_bucket(end.target) for end in ends):
            inside = [end.alias in inner.alias_map for end in ends]
            if inside[0] != inside[1]:
                return True
    return False


def _is_list_of_own(inner: Query, lookup: In[Any]) -> bool:
    """Return whether `inner` lists ids or shard keys for one outside: of these only those in its
    bucket matter.
    """
    names = [lookup.lhs, *inner.select]
    grouped = inner.group_by if isinstance(inner.group_by, tuple) else inner.select
    return (
        len(names) == 2  # the one outside and the one inside
        and not inner.annotation_select
        and not inner.is_sliced
        and all(isinstance(name, Col) and carries_bucket(name.target) for name in names)
        and any(isinstance(one, Col) and carries_bucket(one.target) for one in grouped)
    )
