"""Reads that see their reader's own writes.

After a write the position of the primary's log travels with the caller. A replica that has
*replayed* that position (not only received it) shows the write. PostgreSQL promises as much with
`synchronous_commit = remote_apply`, but then every writer waits for the replicas; here only the
reader in question is sent to another server.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, connections

from scaleout.replication import lsn, state
from scaleout.replication.state import PRIMARY

log = logging.getLogger(__name__)


def place(alias: str) -> tuple[str, int] | None:
    """Return the server that the replica `alias` leads to, and how far it is known to have replayed
    the log.

    None if it is down or lags. A replica of another backend counts as up to date.
    """
    connection = connections[alias]
    cluster = getattr(connection, "cluster", None)
    if cluster is None:
        return "", lsn.MAXIMUM
    host = cluster.standby(connection.settings_dict["STANDBY"])
    if connection.connection is not None:  # an open connection keeps its server, even a removed one
        kept = connection.host  # type: ignore[attr-defined]  # of replication.backend
        host = kept if kept in cluster.standbys() else None
    return (host, cluster.position(host)) if host else None


def replayed(alias: str) -> int:
    """Return how far the replica `alias` is known to have replayed the log; -1 if it is down or
    lags.
    """
    found = place(alias)
    return found[1] if found else -1


def ask(alias: str) -> int:
    """Query how far the replica `alias` has replayed the log. Raises OperationalError without an
    answer.

    A promoted server has no replay position: the position that it has written counts.
    """
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END, '0/0')::text")
        position = lsn.parse(cursor.fetchone()[0])
    connection.cluster.note(connection.host, position)  # type: ignore[attr-defined]  # of replication.backend
    return position


def position() -> int:
    """Return the position that a later read of this caller must see: call it after the commit.

    It is the end of the log in memory: with `synchronous_commit = off` a commit may not be written
    out yet. If the primary is lost between the commit and this question, the result is a position
    that no replica reaches, so the caller reads the primary until it drops the position.
    """
    trail = state.current()
    if (trail.wrote or trail.stray) and not connections[PRIMARY].in_atomic_block:
        try:
            with connections[PRIMARY].cursor() as cursor:
                cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
                trail.after = max(trail.after, lsn.parse(cursor.fetchone()[0]))
        except DatabaseError as error:
            log.warning("position of a write not read: %s", error)
            trail.after = lsn.MAXIMUM
    return trail.after


def bounded(after: int) -> int:
    """Return the position `after` of a caller, or the end of the log if that is less.

    Without the limit an invented position would send its caller's reads to the primary.
    """
    cluster = getattr(connections[PRIMARY], "cluster", None)
    return cluster.bounded(after) if after and cluster else after


def has_position() -> bool:
    """Return whether the caller has named a position that its reads must see."""
    return state.current().after > 0


def headers() -> dict[str, str]:
    """Return the header for a call to another service, so that it sees this caller's writes."""
    after = position()
    return {HEADER: lsn.render(after)} if after else {}


HEADER = "X-Read-After"
