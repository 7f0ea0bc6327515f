"""The router: writes to the primary, reads spread over the replicas."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import Model

from replication import state

PRIMARY = "default"


@contextmanager
def use_primary() -> Iterator[None]:
    """Send the reads inside this block to the primary: for what must not be a moment old."""
    trail = state.current()
    before = trail.pinned
    trail.pinned = True
    try:
        yield
    finally:
        trail.pinned = before


class ReplicaRouter:
    """Choose the primary for writes and for reads that need it, and any replica for the other reads.

    Reads that need it: inside `atomic()`, after a write of the same request or task, of an application
    in `settings.PRIMARY_READ_APPS`, and inside `use_primary()`.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        """Return the alias to read `model` from."""
        if state.current().pinned or model._meta.app_label in settings.PRIMARY_READ_APPS:
            return PRIMARY
        if connections[PRIMARY].in_atomic_block:
            return PRIMARY
        # What is reached through an object is read from where the object came from: one request must
        # not see two moments of one product.
        instance = hints.get("instance")
        if instance is not None and instance._state.db in settings.DATABASES:
            return str(instance._state.db)
        return random.choice(settings.REPLICAS) if settings.REPLICAS else PRIMARY  # noqa: S311 - no secret

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        """Return the primary; from now on this request or task reads there what it wrote."""
        state.current().pinned = True
        return PRIMARY

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool | None:
        """Allow relations between objects that came from the primary and its replicas."""
        aliases = {PRIMARY, *settings.REPLICAS}
        return True if {first._state.db, second._state.db} <= aliases else None
