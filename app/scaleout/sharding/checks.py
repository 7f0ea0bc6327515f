"""System checks of sharded models: an error at the start, in place of a query that finds
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error
from django.db.models import F, ForeignKey, ManyToManyField, Model, UniqueConstraint

from scaleout.sharding.manager import ShardedManager
from scaleout.sharding.pruning import carries_bucket, is_sharded


def check_models(app_configs: Sequence[AppConfig] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """Return the errors of the models of the applications, all of them by default."""
    chosen = apps.get_app_configs() if app_configs is None else app_configs
    models = [model for config in chosen for model in config.get_models()]
    return [message for model in models for message in check_model(model)]


def check_model(model: type[Model]) -> Iterable[CheckMessage]:
    """Yield the errors of one model."""
    for many in model._meta.local_many_to_many:
        if is_sharded(model) or is_sharded(many.related_model):
            yield from _check_many(many)
    for field in model._meta.local_fields:
        if isinstance(field, ForeignKey):
            yield from _check_foreign_key(model, field)
    if is_sharded(model):
        yield from _check_key(model)
        yield from _check_unique(model)
        yield from _check_managers(model)


def _check_foreign_key(model: type[Model], field: Any) -> Iterable[CheckMessage]:
    target, name = field.related_model, f"{model.__name__}.{field.name}"
    here, there = is_sharded(model), is_sharded(target)
    if here and not there:
        yield Error(
            f"{name} is a foreign key from a sharded table to {target.__name__}, which is in no shard.",
            hint="Keep the id in a plain field: no database can check it.",
            obj=field,
            id="sharding.E001",
        )
    elif there and not here:
        yield Error(
            f"{name} is a foreign key to {target.__name__}, whose rows are spread over shards.",
            hint="Keep the id in a plain field: it says on which shard the row is.",
            obj=field,
            id="sharding.E002",
        )
    elif here and model.shard_key not in (field.attname, target.shard_key):  # type: ignore[attr-defined]
        yield Error(
            f"{name} is a foreign key to {target.__name__}, but {model.__name__} is spread by {model.shard_key}.",  # type: ignore[attr-defined]
            hint=f"Only {field.attname} as the shard key, or one shard key for both, keeps them in one bucket.",
            obj=field,
            id="sharding.E003",
        )


def _check_many(field: ManyToManyField[Any, Any]) -> Iterable[CheckMessage]:
    yield Error(
        f"{field} joins tables of which one is sharded.",
        hint="Make a sharded model of its own with the ids of both.",
        obj=field,
        id="sharding.E004",
    )


def _check_key(model: Any) -> Iterable[CheckMessage]:
    names = {field.attname for field in model._meta.local_fields}
    if model.shard_key not in names:
        yield Error(
            f"{model.__name__}.shard_key is {model.shard_key!r}, which is no column of it.",
            hint=f"For a foreign key name the column: one of {', '.join(sorted(names))}.",
            obj=model,
            id="sharding.E005",
        )


def _check_unique(model: Any) -> Iterable[CheckMessage]:
    """Refuse constraints that are unique over several buckets: each shard's index sees its own rows
    only.

    A copy that a move has left at its source would refuse rows of other buckets, and a move to a
    shard that has the same value would fail. If a column contains the bucket, rows of two buckets
    never collide.
    """
    for name, columns in _unique_over(model):
        if not any(map(carries_bucket, columns)):
            yield Error(
                f"{name} of {model.__name__} is unique over several buckets.",
                hint=f"Add {model.shard_key} to it: no shard sees the rows of the others, and rows that a move has left"
                " behind would refuse new ones. What must be unique over all shards needs a directory in an unsharded"
                " table.",
                obj=model,
                id="sharding.E008",
            )


def _unique_over(model: Any) -> Iterable[tuple[str, list[Any]]]:
    """Yield each unique constraint by name, with the columns that it compares unchanged."""
    fields = {name: field for field in model._meta.local_fields for name in (field.name, field.attname)}
    for field in model._meta.local_fields:
        if field.unique and not field.primary_key:
            yield field.name, [field]
    for names in model._meta.unique_together:
        yield ", ".join(names), [fields[name] for name in names if name in fields]
    for one in model._meta.constraints:
        if isinstance(one, UniqueConstraint):
            parts = [getattr(part, "expression", part) for part in one.expressions]  # without their order
            names = [*one.fields, *(part.name for part in parts if isinstance(part, F))]
            columns = [fields[name] for name in names if name in fields]
            yield one.name, [field for field in columns if one.nulls_distinct is not False or not field.null]


def _check_managers(model: Any) -> Iterable[CheckMessage]:
    """Refuse other managers: they would query the shard of the first object for rows of all
    objects.
    """
    for manager in {*model._meta.managers, model._meta.base_manager}:
        if not isinstance(manager, ShardedManager):
            yield Error(
                f"{model.__name__}.{manager.name} is a {type(manager).__name__}, which does not find the shard.",
                hint="Derive it from scaleout.sharding.manager.ShardedManager; ShardedModel is the first base.",
                obj=model,
                id="sharding.E006",
            )
