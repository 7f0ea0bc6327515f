"""Gunicorn's settings, each with its reason."""

from __future__ import annotations

import json
import socket
import time
from http import HTTPStatus
from typing import Any

from gunicorn import util
from scaleout.base.problem import TYPE, problem_body
from scaleout.observability import metrics
from shop import services
from shop.serving.warmup import warm_up

from config import environment

bind = f"0.0.0.0:{services.PORTS[environment.text('SERVICE', 'web')]}"

# Threads, because most of a request is waiting for a database; a few processes, because of the GIL.
# A replica is scaled by adding replicas, so it is kept small.
# gthread, where questions about health have threads of their own.
worker_class = "scaleout.health.lane.Worker"
workers = environment.integer("WEB_WORKERS", 2, least=1, most=64)
threads = environment.integer("WEB_THREADS", 4, least=1, most=64)

# Load the application before forking: memory is shared, and the port opens only when there is
# something to serve, so the load balancer never waits for a process that is still importing.
preload_app = True

# Longer than both load balancers keep an idle connection (30 s), so that they always close first.
# Else a POST could go into a connection that closes at that moment, and be lost.
keepalive = 75

# A worker whose main loop hangs is replaced after 30 s; requests in flight get 30 s to finish at a
# stop.
timeout = 30
graceful_timeout = 30

# No max_requests: with gthread the worker that ends resets connections (benoitc/gunicorn#3038).

# The worker's heartbeat file, on memory: the root filesystem is read-only.
worker_tmp_dir = "/run/app"
control_socket_disable = True

# Only the load balancer reaches this port, and it overwrites these headers.
forwarded_allow_ips = "*"
# Headers with an underscore could pass for those with a dash: dropped (the default, named because
# it matters).
header_map = "drop"
limit_request_line = 8190
limit_request_field_size = 8190

# The application writes the access log, with the request's id.
accesslog = None
errorlog = "-"
loglevel = "warning"

MAX_BODY = environment.integer("MAX_BODY_BYTES", 1_048_576, least=1024, most=1_073_741_824)


def write_problem(sock: Any, status: int, _reason: str, detail: str) -> None:
    """Answer a request that could not be parsed, such as one with a hundred headers, with a
    problem.

    It replaces gunicorn's HTML page. The request has no id yet.
    """
    title = HTTPStatus(status).phrase
    content = json.dumps(problem_body(status, detail or title, None)).encode()
    head = f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: {TYPE}\r\n"
    util.write_nonblock(sock, f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    _read_rest(sock)


def _read_rest(sock: Any) -> None:
    """Read the rest of a refused request.

    Closing the socket would reset the connection under nginx, which sends the body before it reads
    the answer, and would then answer 502. Raises OSError, which gunicorn treats as an end.
    """
    sock.shutdown(socket.SHUT_WR)
    end, left = time.monotonic() + 2.0, MAX_BODY + 65_536
    while left > 0 and (wait := end - time.monotonic()) > 0:
        sock.settimeout(wait)
        piece = sock.recv(65_536)
        if not piece:
            return
        left -= len(piece)


util.write_error = write_problem


def pre_fork(server: Any, worker: Any) -> None:
    """Give the new worker the lowest number that no living worker has."""
    used = {other.slot for other in server.WORKERS.values()}
    worker.slot = next(number for number in range(len(used) + 1) if number not in used)


def post_fork(server: Any, worker: Any) -> None:
    """Keep this worker's metrics in the files of its number."""
    metrics.use_slot(str(worker.slot))


def post_worker_init(worker: Any) -> None:
    """Warm up before the first request is accepted."""
    warm_up(worker.wsgi)
