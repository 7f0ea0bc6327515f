"""One PostgreSQL server, as this process sees it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

import psycopg

from scaleout.replication import lsn
from scaleout.replication.quorum import Writes

type Connection = psycopg.Connection[tuple[object, ...]]

# Its role; how far it has replayed (a standby) or written (a primary) the log; and a primary's
# timeline.
QUESTION = (
    "SELECT pg_is_in_recovery(),"
    " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,"
    " CASE WHEN pg_is_in_recovery() THEN '0' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
)


def readable(connection: Connection) -> bool:
    """Return whether data wait on an idle connection: usually the server has closed it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def cut(connection: Connection) -> None:
    """Break `connection` under a query that hangs: the thread that waits for it gets an error at
    once.

    A server that is paused still acknowledges packets, so no TCP time-out would ever end the wait.
    """
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class Server:
    """The state of one server, and the connections of this process to it. Only its own thread
    writes it.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.up = False
        self.standby = False
        self.position = 0
        self.timeline = 0
        self.error = "not asked yet"
        self.settled = threading.Event()  # set after the first answer or failure
        self.wake = threading.Event()  # set to ask at once
        self.asked_at: float | None = None  # monotonic; None between two questions
        self.answered_at: float | None = None  # when the last answered question was asked
        self._lock = threading.Lock()  # a set may not grow while it is iterated
        self._connections: WeakSet[Connection] = WeakSet()
        self._probe: Connection | None = None

    def ask(self, connect: Callable[[str], Connection]) -> None:
        """Ask once and record the answer. Raises psycopg.Error without one."""
        self.asked_at = asked_at = time.monotonic()
        try:
            if self._probe is None:
                self._probe = connect(self.host)
            row = self._probe.execute(QUESTION).fetchone()
            assert row is not None  # noqa: S101 - for mypy: the question has one row
            standby, position, timeline = row
            self.standby, self.position = bool(standby), lsn.parse(str(position or "0/0"))
            self.timeline = int(str(timeline), 16)
            self.answered_at = asked_at
        except BaseException:
            self.up = False
            self.settled.set()
            self.close()
            raise
        finally:
            self.asked_at = None

    def silent_for(self, now: float) -> float:
        """Return the seconds for which the current question has had no answer; 0.0 without a
        question.
        """
        asked_at, probe = self.asked_at, self._probe
        if asked_at is None:
            return 0.0
        # On a busy machine this process may be late to read the answer.
        with contextlib.suppress(OSError, psycopg.Error, ValueError):
            if probe is not None and readable(probe):
                return 0.0
        return now - asked_at

    def register(self, connection: Connection) -> None:
        """Break `connection` too, when this server hangs."""
        with self._lock:
            self._connections.add(connection)

    def cut_all(self) -> None:
        """Break every connection to this server, so that no thread waits for it any longer."""
        with self._lock:
            connections = list(self._connections)
        probe = self._probe
        for connection in [*connections, *([probe] if probe else [])]:
            cut(connection)

    def judge(self, writes: Writes) -> None:
        """Ask what the slow ones of `writes` wait for. The next question notices a failure."""
        if self._probe is not None:
            with contextlib.suppress(psycopg.Error):
                writes.judge(self._probe)

    def close(self) -> None:
        """Close the connection of the questions."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close()
