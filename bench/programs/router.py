"""Queries with and without the router, in one process, to one standby."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created
from scaleout.replication import lsn, state
from shop.users.models import EmailDirectory

from programs.prepare import EMAIL, prepare
from programs.serve import Operation, serve
from programs.views import request

MIDDLEWARE = "scaleout.replication.middleware.ReplicationMiddleware"
PLAIN = [EmailDirectory.objects.db_manager(alias) for alias in ("plain1", "plain2")]


def unwatch(connection: Any, **_kwargs: Any) -> None:
    """Take the watcher of the queries off the alias that asks no router."""
    if connection.alias.startswith("plain"):
        connection.execute_wrappers.clear()


@cache
def written() -> int:
    """Return a position that the caller has written, and that the standby has replayed long ago."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn()::text")
        return int(lsn.parse(cursor.fetchone()[0]))


def without() -> int:
    """One query that is told its alias."""
    PLAIN[0].get(pk=EMAIL)
    return 1


def either() -> int:
    """One query that is told one of two aliases, by chance: another connection than last time, or
    the same.
    """
    random.choice(PLAIN).get(pk=EMAIL)
    return 1


def later() -> int:
    """One more query of a request: it goes where the first one went."""
    EmailDirectory.objects.get(pk=EMAIL)
    return 1


def first() -> int:
    """The first query of a request that carries a position: choose a standby that has replayed
    it.
    """
    state.begin(written())
    EmailDirectory.objects.get(pk=EMAIL)
    return 1


def with_middleware() -> int:
    """A whole request with one query, a position and the middleware."""
    return _handler()()


@cache
def _handler() -> Operation:
    return request("/routed", [MIDDLEWARE], **{"X-Read-After": lsn.render(written())})


@cache
def _bare() -> Operation:
    return request("/either")


def without_middleware() -> int:
    """The same request without."""
    return _bare()()


OPERATIONS: dict[str, Operation] = {
    "query": without,
    "query, later": later,
    "either": either,
    "query, first": first,
    "request": without_middleware,
    "request, routed": with_middleware,
}


def main() -> None:
    """Serve the harness."""
    connection_created.connect(unwatch, weak=False)
    serve(OPERATIONS, prepare)
