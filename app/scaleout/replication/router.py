"""The router: writes to the primary, reads to a replica that has replayed the caller's position."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, overload

from django.conf import settings
from django.db import OperationalError, connections
from django.db.models import Model

from scaleout.replication import causal, metrics, state
from scaleout.replication.conf import conf
from scaleout.replication.state import PRIMARY
from scaleout.replication.views import View, pinned


@overload
def use_primary() -> AbstractContextManager[object]: ...
@overload
def use_primary[V: View](view: V) -> V: ...
def use_primary(view: Any = None) -> Any:
    """Send reads to the primary, for data that must be current.

    Those inside `with use_primary():`, or all reads of a view with the decorator `@use_primary`.
    """
    return state.block(on_primary=True) if view is None else pinned(view)


@contextmanager
def at_least(position: int) -> Iterator[bool]:
    """Send the reads in this block to a server that has replayed `position`; yield whether one has.

    If the primary is down and no replica has replayed it, they go where any read goes.
    """
    trail = state.current()
    if trail.wrote or (position <= trail.after and not trail.stray):
        yield True
        return
    with state.block(after=position, replica=None, host=None, stray=False) as inner:
        _choose(inner)
        seen = not (inner.replica == PRIMARY and hasattr(connections[PRIMARY], "cluster") and second_choice() is None)
        if not seen:
            inner.after, inner.replica, inner.host = trail.after, trail.replica, trail.host
        yield seen


class ReplicaRouter:
    """Choose the primary for writes and the reads that need it, and one replica a request for the
    others.

    Reads that need the primary: inside `atomic()` and `use_primary()`, after a write of the same
    request or task, and of an application in `REPLICATION["PRIMARY_READ_APPS"]`. A replica serves a
    reader only if it has replayed the reader's position. `REPLICATION["WEIGHTS"]` sets the shares
    of the replicas; one of weight 0 gets only the reads that name it.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        """Return the alias to read `model` from."""
        trail = state.current()
        if trail.wrote or trail.on_primary or connections[PRIMARY].in_atomic_block:
            return PRIMARY
        if model._meta.app_label in conf().primary_read_apps:
            return _from_primary(trail, "application")
        if trail.stray:
            return _from_primary(trail, "thread")
        instance = hints.get("instance")
        if instance is not None and (alias := _alias_of(trail, instance)) is not None:
            return alias
        if trail.replica is None:
            _choose(trail)
        assert trail.replica is not None  # noqa: S101 - for mypy
        return trail.replica

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        """Return the primary; from now on this request or task reads there what it wrote."""
        state.current().note_write()
        return PRIMARY

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool | None:
        """Allow relations between objects that came from the primary and its replicas."""
        aliases = {PRIMARY, *conf().replicas}
        return True if {first._state.db, second._state.db} <= aliases else None


def second_choice() -> str | None:
    """Return the primary if it exists, for a read whose replica has died; another replica may die
    too.
    """
    cluster = getattr(connections[PRIMARY], "cluster", None)
    return PRIMARY if cluster is not None and cluster.primary() is not None else None


def _alias_of(trail: state.Trail, instance: Model) -> str | None:
    """Return the alias that this request read `instance` from, so that related rows are of one
    moment.

    None for an object that another request has read, such as a cached or pickled one, and for one
    of a replica that is behind this reader's position.
    """
    alias = instance._state.db
    if alias is None or alias not in settings.DATABASES:
        return None
    if alias != PRIMARY and alias not in conf().replicas:
        return alias
    read_now = alias in trail.done.queries and (alias == PRIMARY or causal.replayed(alias) >= trail.after)
    return alias if read_now else None


def _from_primary(trail: state.Trail, reason: str) -> str:
    trail.done.primary_said = True
    metrics.primary_reads.labels(reason).inc()
    return PRIMARY


def _choose(trail: state.Trail) -> None:
    """Choose a replica that this reader may read, and its server, or else the primary."""
    if trail.done.again and second_choice() is not None:
        trail.replica, trail.host = _from_primary(trail, "second try"), None
        return
    weights = {alias: conf().weights.get(alias, 1) for alias in conf().replicas}
    places = {alias: found for alias, weight in weights.items() if weight and (found := causal.place(alias))}
    caught_up = [alias for alias, (_, position) in places.items() if position >= trail.after]
    usable = caught_up or list(places)
    if not usable:
        trail.replica = _from_primary(trail, "no replica")
        return
    [alias] = random.choices(usable, [weights[one] for one in usable])  # noqa: S311 - no secret
    trail.replica, trail.host = alias, places[alias][0]
    if caught_up:
        return
    # The known positions are up to half a second old: ask one replica, once.
    try:
        reason = "" if causal.ask(alias) >= trail.after else "behind"
    except OperationalError:
        reason = "no replica"
        trail.done.failed = False  # the primary answers
    if reason:
        trail.replica, trail.host = _from_primary(trail, reason), None
