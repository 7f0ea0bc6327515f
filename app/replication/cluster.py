"""The servers of one PostgreSQL cluster, watched from this process: who is the primary, and who may be read.

Each process asks each server every half second over a connection of its own. So the choice of a server costs a request
nothing, a dead server costs it at most what is written at HUNG, and there is no proxy in between that could fail.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from replication import metrics
from replication.server import Connection, Server

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between two questions
SILENT = 1.0  # seconds without an answer after which nothing new is asked of a server
HUNG = 1.5  # seconds without an answer after which whoever waits for the server is woken with an error
FIRST = 0.8  # seconds that the first caller waits for the first answers
LOOK = 0.1  # seconds between two looks at the servers that have not answered yet

type Closer = Callable[[str], None]


class Cluster:
    """The servers `hosts`, in the order in which standbys are numbered.

    A standby that has fallen more than `max_lag_seconds` or `max_lag_bytes` behind the primary is left out until it has
    caught up. Its lag in seconds is the age of the oldest position of the primary that it has not replayed: no two
    clocks are compared, and a primary that writes nothing makes nobody lag.
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
        self._history: deque[tuple[float, int]] = deque()  # when (monotonic) the primary had written how far
        self._lagging: set[str] = set()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    # ── who is who ──────────────────────────────────────────────────────────────────────────────────
    def primary(self) -> str | None:
        """Return the host that takes writes; None while there is none.

        An old primary that comes back may believe in itself for a moment: the later timeline is right.
        """
        leader = self._leader()
        return leader.host if leader else None

    def standbys(self) -> list[str]:
        """Return the hosts that may be read: up, and not too far behind."""
        lagging = self._lagging
        return [host for host, server in self._known().items() if server.up and server.standby and host not in lagging]

    def standby(self, number: int) -> str | None:
        """Return the host of standby `number`, or where that is away, of another; None where all are."""
        usable = self.standbys()
        return usable[number % len(usable)] if usable else None

    def any_standby(self) -> str | None:
        """Return a host that is up and can be read, however far behind; None where there is none."""
        return next((server.host for server in self._known().values() if server.up and server.standby), None)

    def position(self, host: str) -> int:
        """Return how far `host` had replayed or written the log at the last answer."""
        return self._servers[host].position

    def note(self, host: str, position: int) -> None:
        """Take over a position of `host` that somebody has just been told."""
        server = self._servers[host]
        server.position = max(server.position, position)

    def lag(self, host: str) -> tuple[float, int]:
        """Return how far `host` is behind the primary, in seconds and in bytes; zero while there is no primary."""
        return self._lag(self._servers[host], time.monotonic())

    def up(self, host: str) -> bool:
        """Return whether `host` has answered the last question."""
        return self._servers[host].up

    def why_not(self) -> str:
        """Return one line that says why there is nobody to ask."""
        return "; ".join(
            f"{server.host}: {('standby' if server.standby else 'primary') if server.up else server.error}"
            for server in self._servers.values()
        )

    # ── what callers tell ───────────────────────────────────────────────────────────────────────────
    def suspect(self, host: str) -> None:
        """Leave `host` out until it has answered a question that is asked now: a query has just failed there."""
        server = self._servers[host]
        server.up = False
        server.error = "a query has failed"
        server.wake.set()

    def register(self, host: str, connection: Connection) -> None:
        """Break `connection`, which goes to `host`, when `host` hangs."""
        self._servers[host].connections.add(connection)

    def on_loss(self, closer: Closer) -> None:
        """Call `closer` with the host of each server that is lost."""
        self._closers.append(closer)

    def stop(self) -> None:
        """End the threads of this process."""
        self._stopping.set()
        for server in self._servers.values():
            server.wake.set()
            server.cut_all()
        for thread in self._threads:
            thread.join(INTERVAL + HUNG)
        self._pid = 0

    # ── watching ────────────────────────────────────────────────────────────────────────────────────
    def _known(self) -> dict[str, Server]:
        """Return the servers; the first caller starts the threads: after gunicorn has forked, never before."""
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
        self._threads.append(threading.Thread(target=self._look, args=[watched], name="watch", daemon=True))
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + FIRST
        for server in watched:
            server.settled.wait(max(0.0, deadline - time.monotonic()))

    def _ask(self, server: Server) -> None:
        stopping, was_up = self._stopping, True
        while not stopping.is_set():
            try:
                server.ask(self._connect)
            except Exception as error:  # whatever is wrong, it cannot be used
                server.error = " ".join(str(error).split())
                if was_up:
                    log.warning("%s is lost: %s", server.host, server.error)
                    metrics.evictions.labels(server.host, "lost").inc()
                    for closer in self._closers:
                        closer(server.host)
            else:
                if not was_up:
                    log.warning("%s answers again", server.host)
                self._note_history(server)
            was_up = server.up
            server.wake.wait(INTERVAL)
            server.wake.clear()
        server.close()

    def _look(self, servers: Sequence[Server]) -> None:
        stopping = self._stopping
        while not stopping.wait(LOOK):
            now = time.monotonic()
            for server in servers:
                silent = server.silent_for(now)
                if silent > SILENT and server.up:
                    server.up = False
                    server.error = "it does not answer"
                if silent > HUNG:
                    server.cut_all()
                if server.up and server.standby:
                    self._observe(server, now)

    def _observe(self, server: Server, now: float) -> None:
        seconds, size = self._lag(server, now)
        metrics.lag_seconds.labels(server.host).set(seconds)
        metrics.lag_bytes.labels(server.host).set(size)
        if seconds <= self._max_lag_seconds and size <= self._max_lag_bytes:
            self._lagging.discard(server.host)
        elif server.host not in self._lagging:
            self._lagging.add(server.host)
            log.warning("%s is left out: %.1f s, %d bytes behind", server.host, seconds, size)
            metrics.evictions.labels(server.host, "lag").inc()

    def _leader(self) -> Server | None:
        leaders = [server for server in self._known().values() if server.up and not server.standby]
        return max(leaders, key=lambda server: server.timeline, default=None)

    def _note_history(self, server: Server) -> None:
        if server.standby or self._leader() is not server:
            return
        now = time.monotonic()
        if not self._history or self._history[-1][1] != server.position:
            self._history.append((now, server.position))
        while self._history and now - self._history[0][0] > 2 * self._max_lag_seconds and len(self._history) > 1:
            self._history.popleft()

    def _lag(self, server: Server, now: float) -> tuple[float, int]:
        leader = self._leader()
        if leader is None or leader is server:
            return 0.0, 0
        missed = next((at for at, position in tuple(self._history) if position > server.position), now)
        return now - missed, max(0, leader.position - server.position)
