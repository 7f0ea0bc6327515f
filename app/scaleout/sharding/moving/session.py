"""The mover's own connections. On each it holds a lock, so that there is one mover for a database.

A connection that is lost is never opened again in the same run: with it goes the lock, and whoever
took it over in between must not be disturbed. What a mover does in a database therefore always
happens under that database's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections

# Any number will do, as long as nothing else uses it.
LOCK = 7_241_002
# The server gives a lock back a little after its holder has closed its connection, or was killed.
PATIENCE = "2s"
# What this program does not use of Django's parameters.
_DJANGOS = ("pool", "cursor_factory", "context", "prepare_threshold")
# A mover whose host vanished, or which is frozen, keeps its locks no longer than this; one that was
# killed a second, even in the middle of a statement.
_SETTINGS = """
    SET TIME ZONE 'UTC';
    SET client_connection_check_interval = '1s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET idle_in_transaction_session_timeout = '60s'
"""

type Connection = psycopg.Connection[tuple[Any, ...]]


class MoveError(Exception):
    """A move cannot go on. The text says why, in one line, and what to do."""


def connect(alias: str) -> Connection:
    """Return a connection to the database `alias`, without the lock. Raises MoveError if there is
    none.
    """
    given = connections[alias].get_connection_params()
    parameters = {name: value for name, value in given.items() if name not in _DJANGOS}
    try:
        connection: Connection = psycopg.connect(**parameters, autocommit=True)
        connection.execute(_SETTINGS)
    except psycopg.Error as error:
        raise MoveError(f"{alias} cannot be reached: {one_line(error)}") from error
    return connection


class Sessions:
    """A connection to each database that a move needs, opened when it is first asked for."""

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}

    def __getitem__(self, alias: str) -> Connection:
        """Return the connection to the database `alias`. Raises MoveError if another mover is at
        work there.
        """
        if alias not in self._open:
            self._open[alias] = self._connect(alias)
        return self._open[alias]

    def _connect(self, alias: str) -> Connection:
        connection = connect(alias)
        try:
            with connection.transaction():  # only for SET LOCAL: the lock belongs to the session
                connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
                connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        except psycopg.errors.LockNotAvailable as error:
            connection.close()
            raise MoveError(f"another mover, or a migration, is at work in {alias}: wait for its end") from error
        return connection

    def close(self) -> None:
        """Close all, which gives the locks back."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()


def one_line(error: Exception) -> str:
    """Return what an error says, without line breaks."""
    return " ".join(str(error).split())


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Read, in the block, what was there at one moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def as_mover(connection: Connection) -> Iterator[None]:
    """Write, in one transaction, what only the mover may write. Foreign keys are looked at when it
    ends.
    """
    with connection.transaction():
        connection.execute("SET LOCAL sharding.mover = 'on'")
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        yield
