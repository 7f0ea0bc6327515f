"""Writes that wait for a standby, bounded in time and in number.

A commit is answered when a standby has it. While no standby answers it waits until Patroni removes
them, 11 s or more, and `statement_timeout` does not end that wait. So a request ends it after
LONGEST: the change is on the primary's disk then, but a failover could lose it, and the answer says
so. One thread of the process stays free for reads.

A cancelled query ends the wait, and PostgreSQL answers with a warning:
https://www.postgresql.org/docs/17/warm-standby.html#SYNCHRONOUS-REPLICATION
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError

from scaleout.replication import metrics, state
from scaleout.replication.conf import conf

LONGEST = 1.0  # seconds from a request's first write to its end; the load balancers give up after 2 s without a byte
SLOW = 0.2  # seconds of one statement or commit after which the server is asked for the reason
_WARNING = "canceling wait for synchronous replication"
# The commits of this role, from all containers, that wait for a standby. The server does not say
# for how long: a statement may have waited for a lock before.
_WAITING = """
    SELECT pid, query_start::text FROM pg_stat_activity WHERE usename = current_user AND wait_event = 'SyncRep'
"""
# A statement that waits for a lock is behind such a commit: it has written nothing yet, and fails.
_END = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
     WHERE pid = ANY(%s) AND (wait_event = 'SyncRep' OR wait_event_type = 'Lock')
"""


class Unconfirmed(OperationalError):  # noqa: N818 - a state
    """A write is on the primary only, or the primary was lost at its commit. Repeating it could
    store it twice.
    """

    detail = "The change may have been stored: its confirmation did not arrive. Look before you send it again."


class TooManyWriters(OperationalError):  # noqa: N818 - a state
    """This statement or commit was not sent: too many threads of this process wait for a
    standby.
    """


@dataclass
class _Write:
    pid: int  # of the server's process
    first: float  # when the request began to write; monotonic
    since: float
    ended: bool = False  # by `judge`, not by a standby


class Writes:
    """The statements and commits of this process that one primary works on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[Any, _Write] = {}  # by connection
        self._seen: dict[Any, float] = {}  # the commits that wait for a standby, and when that was first seen
        self.stuck = False  # one has waited for longer than SLOW

    @contextmanager
    def one(self, connection: Any, first: float) -> Iterator[_Write]:
        """Run the block as one write. Raises TooManyWriters before it begins."""
        write = _Write(connection.pgconn.backend_pid, first, time.monotonic())
        with self._lock:
            if self.stuck and len(self._now) >= conf().writers:
                metrics.unconfirmed.labels("refused").inc()
                raise TooManyWriters("too many writers wait for a standby")
            self._now[connection] = write
        try:
            yield write
        finally:
            with self._lock:
                self._now.pop(connection, None)

    def slow(self) -> list[_Write]:
        """Return the writes that take longer than SLOW."""
        if not self._now:
            self.stuck = False
            return []
        latest = time.monotonic() - SLOW
        with self._lock:
            return [write for write in self._now.values() if write.since <= latest]

    def judge(self, connection: Any) -> None:
        """Ask the server whether slow commits wait for a standby; if so, end those that are too
        old.
        """
        slow = self.slow()
        now = time.monotonic()
        waiting = connection.execute(_WAITING).fetchall() if slow else []
        self._seen = {commit: self._seen.get(commit, now) for commit in waiting}
        self.stuck = any(seen <= now - SLOW for seen in self._seen.values())
        latest = now - LONGEST
        late = [write.pid for write in slow if write.first <= latest]
        if self.stuck and late:
            connection.execute(_END, [late])

    def note(self, connection: Any, message: str | None) -> None:
        """Record a notice of the server on `connection`."""
        write = self._now.get(connection)
        if write is not None and (message or "").startswith(_WARNING):
            write.ended = True


@contextmanager
def write(wrapper: Any) -> Iterator[None]:
    """Write or commit on `wrapper`, Django's connection; within bounds in a request.

    Raises TooManyWriters, and Unconfirmed if an earlier commit of this request was not confirmed.
    """
    cluster, done = getattr(wrapper, "cluster", None), state.current().done
    bounded = done.in_request and wrapper.alias in done.written and wrapper.connection is not None
    if cluster is None or len(cluster.hosts) == 1 or not bounded:
        yield
        return
    if done.unconfirmed:
        raise Unconfirmed(Unconfirmed.detail)
    done.began_writing = done.began_writing or time.monotonic()
    with cluster.writes.one(wrapper.connection, done.began_writing) as one:
        yield
    if one.ended:
        metrics.unconfirmed.labels("ended").inc()
        done.unconfirmed = True
