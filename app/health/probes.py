"""One question to each dependency, with a deadline that holds even where the other side hangs."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

import psycopg
from django.db import connections
from django_redis import get_redis_connection

DEADLINE = 1.0  # seconds for one answer
IS_STANDBY = "SELECT pg_is_in_recovery()"


def _shut(connection: psycopg.Connection[Any]) -> None:
    """Break the connection under a query that hangs: the waiting thread gets an error at once.

    A paused server still acknowledges our packets, so no TCP time-out would ever end the wait.
    """
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class DatabaseProbe:
    """Ask the database behind `alias`, over a connection of its own: a busy pool is not a dead database."""

    def __init__(self, alias: str, *, writable: bool) -> None:
        self._alias = alias
        self._writable = writable
        self._connection: psycopg.Connection[Any] | None = None

    def __call__(self) -> None:
        """Return if the database answers in time; raise psycopg.Error if not, or if it takes no writes but should."""
        if self._connection is None:
            parameters = connections[self._alias].get_connection_params()
            parameters.pop("cursor_factory", None)
            parameters.pop("context", None)
            self._connection = psycopg.connect(**parameters, autocommit=True)
        timer = threading.Timer(DEADLINE, _shut, [self._connection])
        timer.start()
        try:
            row = self._connection.execute(IS_STANDBY).fetchone()
            if self._writable and (row is None or row[0]):
                raise psycopg.OperationalError("this node is not the primary any more")
        except psycopg.Error:
            self.close()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class CacheProbe:
    """Ask Redis."""

    def __call__(self) -> None:
        """Return if Redis answers within the cache's own socket time-outs; raise redis.RedisError if not."""
        get_redis_connection("default").ping()

    def close(self) -> None:
        """Leave the connection to the cache's pool."""
