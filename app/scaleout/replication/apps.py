"""Watch which database each query goes to, and hand positions through Celery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils.module_loading import import_string

from scaleout.replication import doubt, state
from scaleout.replication.guard import refuse_unsaid
from scaleout.replication.state import PRIMARY
from scaleout.replication.statements import may_write
from scaleout.replication.views import refuse


def _record(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    connection, trail = context["connection"], state.current()
    alias = connection.alias
    trail.record(alias, getattr(connection, "server", ""))
    writes = alias not in settings.REPLICAS and may_write(sql)
    if writes:
        refuse(sql)
        trail.note_write(alias)
    elif alias == PRIMARY and settings.REPLICATION_GUARD and not trail.wrote:
        refuse_unsaid(connection, sql)
    try:
        with doubt.write(connection, ends=connection.autocommit) if writes else nullcontext():
            return execute(sql, params, many, context)
    except (OperationalError, InterfaceError):
        trail.done.failed = True
        raise


def _watch(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    if _record not in connection.execute_wrappers:
        connection.execute_wrappers.append(_record)


def check_weights(**_kwargs: Any) -> list[Error]:
    """Check that REPLICA_WEIGHTS names replicas, and gives each a number that is not negative."""
    return [
        Error(f"REPLICA_WEIGHTS: {alias!r}: {weight!r}: a replica ({', '.join(settings.REPLICAS)}) and a number >= 0")
        for alias, weight in settings.REPLICA_WEIGHTS.items()
        if alias not in settings.REPLICAS or not isinstance(weight, int | float) or not 0 <= weight < float("inf")
    ]


def check_positions(**_kwargs: Any) -> list[Error]:
    """Check that REPLICATION_POSITIONS names a cache, and REPLICATION_USER a function."""
    alias, user = getattr(settings, "REPLICATION_POSITIONS", None), getattr(settings, "REPLICATION_USER", None)
    if not alias:
        return []
    errors = [] if alias in settings.CACHES else [Error(f"REPLICATION_POSITIONS: {alias!r}: no cache of this name")]
    try:
        import_string(user or "")
    except ImportError:
        errors.append(Error(f"REPLICATION_USER: {user!r}: must be the path of a function"))
    return errors


class ReplicationConfig(AppConfig):
    """Install the watcher on each connection as it is made."""

    name = "scaleout.replication"

    def ready(self) -> None:
        """Connect the signals."""
        register(check_weights)
        register(check_positions)
        connection_created.connect(_watch, dispatch_uid="replication.watch")
        if find_spec("celery"):
            from scaleout.replication import tasks  # noqa: F401, PLC0415 - a project without Celery needs it not
