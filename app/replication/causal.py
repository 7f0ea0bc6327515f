"""Reads that have seen their reader's own writes.

After a write the position of the primary's log travels with the caller. A replica that has *replayed* that position
(not only received it) shows the write. With `synchronous_commit = remote_apply` PostgreSQL itself promises as much, but
there every writer waits for the replicas; here only the one reader that cares is sent elsewhere.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, connections

from replication import lsn, state

log = logging.getLogger(__name__)

PRIMARY = "default"


def replayed(alias: str) -> int | None:
    """Return how far the replica `alias` is known to have replayed the log; None if it is away, or too far behind.

    One of another backend is taken as it is.
    """
    connection = connections[alias]
    cluster = getattr(connection, "cluster", None)
    if cluster is None:
        return lsn.MAXIMUM
    host = cluster.standby(connection.settings_dict["STANDBY"])
    if host is None:
        return None
    if connection.connection is not None:  # it goes on to where it goes
        host = connection.host  # type: ignore[attr-defined]  # of replication.backend
    position: int = cluster.position(host)
    return position


def ask(alias: str) -> int:
    """Return how far the replica `alias` has replayed the log now. Raises OperationalError if it does not answer.

    A server that was promoted meanwhile has no replay position any more; what it has written counts.
    """
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END, '0/0')::text")
        position = lsn.parse(cursor.fetchone()[0])
    connection.cluster.note(connection.host, position)  # type: ignore[attr-defined]  # of replication.backend
    return position


def position() -> int:
    """Return what a later read of this caller must have seen: call it after the commit of what was written.

    Where the primary is lost between the commit and this question, the answer is a position that no replica reaches, so
    the caller reads the primary until it forgets the position.
    """
    trail = state.current()
    if trail.wrote and not connections[PRIMARY].in_atomic_block:
        try:
            with connections[PRIMARY].cursor() as cursor:
                cursor.execute("SELECT pg_current_wal_lsn()::text")
                trail.after = max(trail.after, lsn.parse(cursor.fetchone()[0]))
        except DatabaseError as error:
            log.warning("the position of a write is not known: %s", error)
            trail.after = lsn.MAXIMUM
    return trail.after


def told() -> bool:
    """Return whether the caller has said what its reads must have seen."""
    return state.current().after > 0


def headers() -> dict[str, str]:
    """Return the header to send with a call to another service, so that it reads what this caller has written."""
    after = position()
    return {HEADER: lsn.render(after)} if after else {}


HEADER = "X-Read-After"
