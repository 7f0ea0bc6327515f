"""The tables of a shard: for the move of buckets, and for the check that each has its fence."""

from __future__ import annotations

from django.apps import apps
from django.db import router
from django.db.models import ForeignKey

from scaleout.sharding.base import ShardedModel
from scaleout.sharding.conf import conf


def models_on(alias: str) -> list[type[ShardedModel]]:
    """Return the sharded models whose tables the shard `alias` has, each after those that its keys
    name.

    Rows are copied in this order and deleted in the reverse order.
    """
    left = [
        model
        for model in apps.get_models()
        if issubclass(model, ShardedModel) and _has_table(model) and router.allow_migrate_model(alias, model)
    ]
    ordered: list[type[ShardedModel]] = []
    while left:
        ready = [model for model in left if not _named_by(model) & (set(left) - {model})]
        if not ready:
            raise ValueError(f"foreign keys in a cycle: {', '.join(model.__name__ for model in left)}")
        ordered += ready
        left = [model for model in left if model not in ready]
    return ordered


def outbox_table() -> str | None:
    """Return the table of the model in `SHARDING["OUTBOX"]` ("events.Outbox"); None if not set.

    Each shard has it. A move waits until no event of its buckets is left in it.
    """
    label = conf().outbox
    return None if label is None else apps.get_model(label)._meta.db_table


def _has_table(model: type[ShardedModel]) -> bool:
    """Return whether the table is the model's own and made by migrations: a proxy shares another
    model's.
    """
    return model._meta.managed and not model._meta.proxy


def _named_by(model: type[ShardedModel]) -> set[object]:
    return {field.related_model for field in model._meta.local_fields if isinstance(field, ForeignKey)}
