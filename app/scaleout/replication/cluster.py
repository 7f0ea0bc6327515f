"""The servers of one PostgreSQL cluster, watched by this process: the primary and the usable
standbys.

Each process asks each server every half second over a connection of its own. So the choice of a
server costs a request nothing, a dead server costs it HUNG at most, and no proxy in between can
fail.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from scaleout.replication import metrics
from scaleout.replication.history import History
from scaleout.replication.quorum import Writes
from scaleout.replication.server import Connection, Server

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between two questions to a server
SILENT = 1.0  # seconds without an answer after which a server gets no new queries
HUNG = 1.5  # seconds without an answer of the primary until its waiting callers get an error
# The same for a standby: with INTERVAL and the retry of the read below the gateway's wait, 1.8 s.
STANDBY_HUNG = 1.0
FIRST = 0.8  # seconds that the first caller waits for the first answers
LOOK = 0.1  # seconds between two looks at the servers that have not answered yet
AGAIN = 0.02  # seconds between two questions while the first caller waits for a standby to catch up
AHEAD = 16 * 1024 * 1024  # bytes that a reader may be ahead of the primary's last answer
PATIENCE = 0.2  # seconds for an answer of the primary about a position that is further ahead
# Seconds after which the primary has written every position that it gave out, also with
# synchronous_commit off.
WRITTEN = 1.0
DOUBTED = 1000  # positions that are kept

type Closer = Callable[[str, bool], object]


class Cluster:
    """The servers `hosts`, in the order in which standbys are numbered.

    A standby that lags more than `max_lag_seconds` or `max_lag_bytes` is removed until it has
    caught up. Its lag in seconds is the age of the oldest change that it has not replayed: no two
    clocks are compared, and an idle primary makes no standby lag. Without a primary a standby is
    compared with the best of those in use.
    """

    def __init__(
        self, hosts: Sequence[str], connect: Callable[[str], Connection], max_lag_seconds: float, max_lag_bytes: int
    ) -> None:
        self.hosts = tuple(hosts)
        self._connect = connect
        self._max_lag_seconds = max_lag_seconds
        self._max_lag_bytes = max_lag_bytes
        self._lock = threading.Lock()
        self._pid = 0
        self._closers: list[Closer] = []
        self._reset()

    def _reset(self) -> None:
        self._servers = {host: Server(host) for host in self.hosts}
        self._history = History()
        self.writes = Writes()
        self._timeline = 0
        self._doubted: dict[int, float] = {}  # positions beyond the primary's last answer, and when first seen
        self._lagging: set[str] = set()
        self._observing = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    # ── roles ─────────────────────────────────────────────────────────────────────────────────────
    def primary(self) -> str | None:
        """Return the host that takes writes; None while no primary exists.

        An old primary that recovers may keep its role for a moment: the later timeline wins.
        """
        self._known()
        leader = self._leader()
        return leader.host if leader else None

    def standbys(self) -> list[str]:
        """Return the hosts that may be read: up, and without too much lag."""
        return [server.host for server in self._known().values() if self._usable(server)]

    def standby(self, number: int) -> str | None:
        """Return the host of standby `number`; if that is down another one; None if all are
        down.
        """
        usable = self.standbys()
        return usable[number % len(usable)] if usable else None

    def any_standby(self) -> str | None:
        """Return a host that is up and readable, with any lag; None if none is."""
        return next((server.host for server in self._known().values() if server.up and server.standby), None)

    def position(self, host: str) -> int:
        """Return how far `host` had replayed or written the log at its last answer."""
        return self._servers[host].position

    def note(self, host: str, position: int) -> None:
        """Take over a newer position of `host`, which a caller has just read."""
        server = self._servers[host]
        server.position = max(server.position, position)

    def bounded(self, position: int) -> int:
        """Return `position`, or the end of the primary's log if that is less.

        The primary is asked only if `position` is far beyond its last answer: then it is invented,
        stands for a write of unknown position, or belongs to another cluster. A near one counts as
        real for WRITTEN seconds.
        """
        self._known()
        leader = self._leader()
        if leader is None or position <= leader.position:
            return position
        if position <= leader.position + AHEAD:
            return leader.position if self._never_written(position, leader) else position
        began = time.monotonic()
        leader.wake.set()
        while (leader.answered_at or 0.0) < began:
            if time.monotonic() - began > PATIENCE:
                return position
            time.sleep(PATIENCE / 40)
        return min(position, leader.position)

    def _never_written(self, position: int, leader: Server) -> bool:
        """Return whether the log ended before `position` WRITTEN seconds after it was first
        seen.
        """
        seen = self._doubted.get(position)
        if seen is None:
            if len(self._doubted) >= DOUBTED:
                self._doubted = {}
            seen = self._doubted[position] = time.monotonic()
        return (leader.answered_at or 0.0) > seen + WRITTEN

    def lag(self, host: str) -> tuple[float, int]:
        """Return how far `host` is behind the primary, in seconds and in bytes."""
        return self._lag(self._servers[host], time.monotonic())

    def up(self, host: str) -> bool:
        """Return whether `host` has answered the last question."""
        return self._servers[host].up

    def why_not(self) -> str:
        """Return one line with the state of each server."""
        return "; ".join(
            f"{server.host}: {('standby' if server.standby else 'primary') if server.up else server.error}"
            for server in self._servers.values()
        )

    # ── reports of callers ────────────────────────────────────────────────────────────────────────
    def suspect(self, host: str) -> None:
        """Remove `host` until it has answered a new question: a query has just failed there."""
        server = self._servers[host]
        server.up = False
        server.error = "a query has failed"
        server.wake.set()

    def register(self, host: str, connection: Connection) -> None:
        """Register `connection` to `host`, to be broken when `host` hangs."""
        self._servers[host].register(connection)

    def on_change(self, closer: Closer) -> None:
        """Call `closer` with each host that is lost or promoted, and whether it is promoted."""
        self._closers.append(closer)

    def stop(self) -> None:
        """End the threads of this process."""
        if self._pid != os.getpid():
            return  # in the child of a fork: threads and connections are the parent's
        self._stopping.set()
        for server in self._servers.values():
            server.wake.set()
            server.cut_all()
        for thread in self._threads:
            thread.join(INTERVAL + HUNG)
        self._pid = 0

    # ── watching ──────────────────────────────────────────────────────────────────────────────────
    def _known(self) -> dict[str, Server]:
        """Return the servers; the first caller starts the threads: after gunicorn has forked, never
        before.
        """
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._reset()
                    self._start()
                    self._pid = os.getpid()
        return self._servers

    def _start(self) -> None:
        watched = list(self._servers.values())
        self._threads = [
            threading.Thread(target=self._ask, args=[server], name=f"watch-{server.host}", daemon=True)
            for server in watched
        ]
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + FIRST
        for server in watched:
            server.settled.wait(max(0.0, deadline - time.monotonic()))
        # The age of a standby's missing changes is unknown at first: it is usable once it has
        # replayed what the primary had then.
        while (late := [one for one in watched if self._lags(one)]) and time.monotonic() < deadline:
            for server in late:
                server.wake.set()
            time.sleep(AGAIN)
        self._observing = True
        look = threading.Thread(target=self._look, args=[watched], name="watch", daemon=True)
        look.start()
        self._threads.append(look)
        for server in watched:
            self._observe(server)

    def _ask(self, server: Server) -> None:
        stopping, was_up = self._stopping, True
        while not stopping.is_set():
            try:
                self._ask_once(server, was_up=was_up)
            except Exception:  # a bug here must not end the watch: a hung server would stay in use
                log.exception("watch of %s failed", server.host)
                server.up = False
            was_up = server.up
            server.wake.wait(INTERVAL)
            server.wake.clear()
        server.close()

    def _ask_once(self, server: Server, *, was_up: bool) -> None:
        since, was_standby = server.answered_at, server.standby
        try:
            server.ask(self._connect)
        except Exception as error:
            server.error = " ".join(str(error).split())
            if was_up:
                log.warning("server %s lost: %s", server.host, server.error)
                metrics.evictions.labels(server.host, "lost").inc()
                self._close(server, promoted=False)
        else:
            if was_standby and not server.standby:
                self._close(server, promoted=True)
            # The lag first: a standby that was away for an hour is up, but not usable.
            self._note_history(server, since)
            self._observe(server)
            server.up = True
            server.settled.set()
            if not server.standby:
                server.judge(self.writes)
            if not was_up:
                log.warning("server %s recovered", server.host)

    def _close(self, server: Server, *, promoted: bool) -> None:
        for closer in self._closers:
            closer(server.host, promoted)

    def _look(self, servers: Sequence[Server]) -> None:
        stopping = self._stopping
        while not stopping.wait(LOOK):
            if self.writes.slow() and (leader := self._leader()):
                leader.wake.set()
            for server in servers:
                try:
                    self._look_at(server)
                except Exception:  # as in _ask
                    log.exception("watch of %s failed", server.host)

    def _look_at(self, server: Server) -> None:
        silent = server.silent_for(time.monotonic())
        if silent > SILENT and server.up:
            server.up = False
            server.error = "no answer"
        if silent > (STANDBY_HUNG if server.standby else HUNG):
            server.cut_all()
        if server.up:
            self._observe(server)

    def _observe(self, server: Server) -> None:
        """Remove a standby that lags, and restore one that has caught up."""
        if not server.standby or not self._observing:
            return
        seconds, size = self._lag(server, time.monotonic())
        metrics.lag_seconds.labels(server.host).set(seconds)
        metrics.lag_bytes.labels(server.host).set(size)
        if seconds <= self._max_lag_seconds and size <= self._max_lag_bytes:
            self._lagging.discard(server.host)
        elif server.host not in self._lagging:
            self._lagging.add(server.host)
            log.warning("standby %s removed: lag %.1f s, %d bytes", server.host, seconds, size)
            metrics.evictions.labels(server.host, "lag").inc()

    def _usable(self, server: Server) -> bool:
        return server.up and server.standby and server.host not in self._lagging

    def _leader(self) -> Server | None:
        leaders = [server for server in self._servers.values() if server.up and not server.standby]
        return max(leaders, key=lambda server: server.timeline, default=None)

    def _reference(self) -> int:
        """Return the position that a standby must have reached.

        Without a primary it is that of the best standby in use. Without one of these it is the
        highest known position, so that no removed standby restores itself.
        """
        leader = self._leader()
        if leader is not None:
            return leader.position
        return max((one.position for one in self._servers.values() if self._usable(one)), default=self._history.end)

    def _note_history(self, server: Server, since: float | None) -> None:
        """Record the position of the primary, or without a primary that of a standby.

        `since`: when `server` answered before.
        """
        leader, now = self._leader(), time.monotonic()
        if server.standby and leader is not None:
            return
        if not server.standby:
            if leader is not None and leader.timeline > server.timeline:
                return
            # A position beyond this one is lost: with an old primary, or by a restored backup.
            if server.timeline > self._timeline or server.position < self._history.end:
                self._timeline = server.timeline
                self._history.cut(server.position)
        # The first answer covers writes of unknown times: they count as too old for a standby that
        # lacks them.
        self._history.note(now - 2 * self._max_lag_seconds if since is None else since, now, server.position)

    def _lag(self, server: Server, now: float) -> tuple[float, int]:
        reference = self._reference()
        if not server.standby or server.position >= reference:
            return 0.0, 0
        missed = self._history.missed_since(server.position)
        return now - (now if missed is None else missed), reference - server.position

    def _lags(self, server: Server) -> bool:
        seconds, _ = self._lag(server, time.monotonic())
        return server.up and seconds > self._max_lag_seconds
