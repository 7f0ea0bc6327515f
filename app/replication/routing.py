"""The router: writes to the primary, reads to a replica that has seen what the reader has seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import OperationalError, connections
from django.db.models import Model

from replication import causal, metrics, state

PRIMARY = "default"


@contextmanager
def use_primary() -> Iterator[None]:
    """Send the reads inside this block to the primary: for what must not be a moment old."""
    trail = state.current()
    trail.on_primary += 1
    try:
        yield
    finally:
        trail.on_primary -= 1


@contextmanager
def at_least(position: int) -> Iterator[bool]:
    """Send the reads inside this block to a server that has replayed `position`; yield whether they go to one.

    They do not where the primary is away and no replica has come so far yet: then they go where any read goes.
    """
    trail = state.current()
    before = trail.after, trail.replica
    seen = True
    if position > trail.after and not trail.wrote:
        trail.after = position
        trail.replica = _choose(trail)
        if trail.replica == PRIMARY and hasattr(connections[PRIMARY], "cluster") and second_choice() is None:
            trail.after, trail.replica = before
            seen = False
    try:
        yield seen
    finally:
        trail.after, trail.replica = before


class ReplicaRouter:
    """Choose the primary for writes and for the reads that need it, and for the others one replica a request.

    Reads that need it: inside `atomic()` and `use_primary()`, after a write of the same request or task, and of an
    application in `settings.PRIMARY_READ_APPS`. A replica serves a reader only if it has replayed what the reader has
    written before; `settings.REPLICA_WEIGHTS` says how much of the others' reads each one gets.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        """Return the alias to read `model` from."""
        trail = state.current()
        if trail.wrote or trail.on_primary or connections[PRIMARY].in_atomic_block:
            return PRIMARY
        if model._meta.app_label in settings.PRIMARY_READ_APPS:
            return _from_primary(trail, "application")
        # What is reached through an object is read from where the object came from: one request must
        # not see two moments of one product.
        instance = hints.get("instance")
        if instance is not None and instance._state.db in settings.DATABASES:
            return str(instance._state.db)
        if trail.replica is None:
            trail.replica = _choose(trail)
        return trail.replica

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        """Return the primary; from now on this request or task reads there what it wrote."""
        state.current().wrote = True
        return PRIMARY

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool | None:
        """Allow relations between objects that came from the primary and its replicas."""
        aliases = {PRIMARY, *settings.REPLICAS}
        return True if {first._state.db, second._state.db} <= aliases else None


def second_choice() -> str | None:
    """Return the primary if it is there, for a read whose replica has died: another one may be about to."""
    cluster = getattr(connections[PRIMARY], "cluster", None)
    return PRIMARY if cluster is not None and cluster.primary() is not None else None


def _from_primary(trail: state.Trail, reason: str) -> str:
    trail.primary_said = True
    metrics.primary_reads.labels(reason).inc()
    return PRIMARY


def _choose(trail: state.Trail) -> str:
    """Return a replica that this reader may read, or the primary where there is none."""
    known = {alias: causal.replayed(alias) for alias in settings.REPLICAS}
    caught_up = [alias for alias, position in known.items() if position is not None and position >= trail.after]
    if caught_up:
        return _weighted(caught_up)
    usable = [alias for alias, position in known.items() if position is not None]
    if not usable:
        return _from_primary(trail, "no replica")
    # What is known is up to half a second old: ask one of them, once.
    alias = _weighted(usable)
    try:
        if causal.ask(alias) >= trail.after:
            return alias
    except OperationalError:
        return _from_primary(trail, "no replica")
    return _from_primary(trail, "behind")


def _weighted(aliases: list[str]) -> str:
    if not settings.REPLICA_WEIGHTS:
        return random.choice(aliases)  # noqa: S311 - no secret
    weights = [settings.REPLICA_WEIGHTS.get(alias, 1) for alias in aliases]
    return random.choices(aliases, weights)[0]  # noqa: S311 - no secret
