"""Watch which database each query goes to, and hand positions through Celery."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from replication import state
from replication.guard import refuse_unsaid

PRIMARY = "default"
# What a statement begins with that leaves the log as it is.
_READS = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET", "SHOW", "EXPLAIN", "DECLARE", "FETCH", "CLOSE")


def _record(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    connection, trail = context["connection"], state.current()
    alias = connection.alias
    trail.record(alias, getattr(connection, "server", ""))
    if alias == PRIMARY and not trail.wrote:
        if not isinstance(sql, str) or not sql.lstrip(" (\n").upper().startswith(_READS):
            trail.wrote = True
        elif settings.REPLICATION_GUARD:
            refuse_unsaid(connection, sql)
    return execute(sql, params, many, context)


def _watch(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    if _record not in connection.execute_wrappers:
        connection.execute_wrappers.append(_record)


class ReplicationConfig(AppConfig):
    """Install the watcher on each connection as it is made."""

    name = "replication"

    def ready(self) -> None:
        """Connect the signals."""
        connection_created.connect(_watch, dispatch_uid="replication.watch")
        if find_spec("celery"):
            from replication import tasks  # noqa: F401, PLC0415 - a project without Celery needs it not
