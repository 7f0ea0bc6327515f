"""Writes whose server was lost before it answered: only the server knows whether they are stored.

The server is lost at the COMMIT of a transaction, or at a statement that is its own transaction. It
may have written the commit and then died, been cut off, or had its process ended while it waited
for a standby; the caller sees a closed connection in each case. A write is certainly not stored if
the connection was closed before anything was sent, or if the server has answered with an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db import Error

from scaleout.replication import metrics, quorum, state
from scaleout.replication.server import readable


@contextmanager
def write(wrapper: Any, *, ends: bool) -> Iterator[None]:
    """Send a statement that writes, or a COMMIT, on `wrapper`, Django's connection.

    `ends`: the statement ends its transaction. Raises quorum.Unconfirmed if the connection is lost
    after sending, and records that for the answer to the request.
    """
    with quorum.write(wrapper):
        connection = wrapper.connection
        if not ends or not isinstance(connection, psycopg.Connection) or _closed_before(connection):
            yield
            return
        try:
            yield
        except Error as error:
            if not connection.closed:
                raise  # the server has answered with an error: it has stored nothing
            state.current().done.lost = True
            metrics.unconfirmed.labels("lost").inc()
            raise quorum.Unconfirmed(quorum.Unconfirmed.detail) from error


def _closed_before(connection: Any) -> bool:
    """Return whether the server has closed `connection` already, so that it receives nothing."""
    for _ in range(2):  # its last message, then the end
        if connection.closed or not readable(connection):
            break
        with suppress(psycopg.Error):
            connection.pgconn.consume_input()
    return bool(connection.closed)
