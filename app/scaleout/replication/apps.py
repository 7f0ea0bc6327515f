"""Watch every query of each connection, and pass positions on with Celery tasks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from scaleout.replication import doubt, state
from scaleout.replication.conf import conf
from scaleout.replication.guard import refuse_unsaid
from scaleout.replication.state import PRIMARY
from scaleout.replication.statements import may_write
from scaleout.replication.views import refuse


def _record(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    connection, trail = context["connection"], state.current()
    alias = connection.alias
    trail.record(alias, getattr(connection, "server", ""))
    writes = alias not in conf().replicas and may_write(sql)
    if writes:
        refuse(sql)
        trail.note_write(alias)
    elif alias == PRIMARY and conf().guard and not trail.wrote:
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


class ReplicationConfig(AppConfig):
    """Install the watcher on each connection as it is made."""

    name = "scaleout.replication"

    def ready(self) -> None:
        """Register the check and connect the signals."""
        conf.register()
        connection_created.connect(_watch, dispatch_uid="replication.watch")
        if find_spec("celery"):
            from scaleout.replication import tasks  # noqa: F401, PLC0415 - not needed without Celery
