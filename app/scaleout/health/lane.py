"""Gunicorn's threaded worker, with threads for health checks that a busy pool cannot starve.

A busy pool answers late. A health check that goes through it makes a slow replica look dead: the
load balancer removes it, and the other replicas get its load. So `/health/` has threads of its own,
and reports whether the pool makes progress.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from scaleout.health import progress

LANE = b"GET /health/"
THREADS = 2  # the answers come from memory


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The threaded worker. A new connection takes a thread when its first bytes arrive, not
    before.
    """

    def init_process(self) -> None:
        """Make the lane and run."""
        self.lane = ThreadPoolExecutor(THREADS, thread_name_prefix="health")
        progress.pool.threads = self.cfg.threads
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        """Give the request to the lane or to the pool, or wait for its first bytes."""
        begins = _first(conn.sock)
        if begins is None and not conn.initialized and not conn.data_ready:
            conn.sock.setblocking(False)
            conn.timeout = time.monotonic() + self.cfg.keepalive
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
            return
        future = self.lane.submit(self.handle, conn) if begins == LANE else self.tpool.submit(self._work, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _work(self, conn: Any) -> Any:
        with progress.pool.working():
            return self.handle(conn)

    def run(self) -> None:
        """Run until a signal stops the worker; the lane ends last."""
        super().run()
        self.lane.shutdown(wait=False)


def _first(sock: socket.socket) -> bytes | None:
    """Return the first bytes in `sock` without taking them; None if none has arrived."""
    try:
        return sock.recv(len(LANE), socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError as error:
        return None if error.errno == errno.EAGAIN else b""  # handle() meets the same error
