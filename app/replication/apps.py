"""Watch which database each query goes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from replication import state


def _record(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    state.current().record(context["connection"].alias)
    return execute(sql, params, many, context)


def _watch(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    if _record not in connection.execute_wrappers:
        connection.execute_wrappers.append(_record)


class ReplicationConfig(AppConfig):
    """Install the watcher on each connection as it is made."""

    name = "replication"

    def ready(self) -> None:
        """Connect the signal."""
        connection_created.connect(_watch, dispatch_uid="replication.watch")
