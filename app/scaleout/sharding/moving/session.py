"""The mover's own connections. Each holds a lock, so that a database has one mover.

A lost connection is not opened again in the same run: its lock is lost with it, and the mover that
has taken the lock over must not be disturbed. So a mover works in a database only under that
database's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections

# An arbitrary number that nothing else uses.
LOCK = 7_241_002
# The server releases a lock a little after its holder has closed its connection or was killed.
PATIENCE = "2s"
# Django's parameters that this program does not use.
_DJANGOS = ("pool", "cursor_factory", "context", "prepare_threshold")
# A mover whose host vanished, or that is frozen, keeps its locks no longer than this; a killed
# mover keeps them for a second, even in the middle of a statement.
_SETTINGS = """
    SET TIME ZONE 'UTC';
    SET client_connection_check_interval = '1s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET idle_in_transaction_session_timeout = '60s'
"""

type Connection = psycopg.Connection[tuple[Any, ...]]


class MoveError(Exception):
    """A move cannot continue. The text says why, in one line, and what to do."""


def connect(alias: str) -> Connection:
    """Return a connection to the database `alias`, without the lock. Raises MoveError
    without one.
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
    """A connection to each database of a move, opened at its first use."""

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
        """Close all connections, which releases the locks."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()


def one_line(error: Exception) -> str:
    """Return the text of an error, without line breaks."""
    return " ".join(str(error).split())


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Read, in the block, the state of one moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def as_mover(connection: Connection) -> Iterator[None]:
    """Write as the mover, in one transaction. Foreign keys are checked at its end."""
    with connection.transaction():
        connection.execute("SET LOCAL sharding.mover = 'on'")
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        yield
