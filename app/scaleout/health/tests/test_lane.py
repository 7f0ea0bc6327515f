"""Questions about health, asked of a real gunicorn whose threads are all at work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from waiting import TIME_FACTOR, eventually

import scaleout.health

APP = Path(scaleout.health.__file__).parents[2]
THREADS = 2


class Server:
    """A gunicorn of one process."""

    def __init__(self, port: int, release: Path) -> None:
        self.port = port
        self.release = release

    def get(self, path: str) -> str:
        """Return the body of the answer on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10 * TIME_FACTOR)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    @contextmanager
    def hanging(self, requests: int) -> Iterator[None]:
        """Have this many requests hang within the block; afterwards all of them are answered."""
        with ThreadPoolExecutor(requests) as callers:
            answers = [callers.submit(self.get, "/hang") for _ in range(requests)]
            try:
                yield
            finally:
                self.release.touch()
        assert [one.result() for one in answers] == ["ok"] * requests


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run gunicorn with the worker of the replicas."""
    release = tmp_path / "release"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--worker-class",
            "scaleout.health.lane.Worker", "--threads", str(THREADS), "--keep-alive", "75", "--no-control-socket",
            "--log-level", "critical", "scaleout.health.tests.pool_app:application",
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(APP), "POOL_TEST_RELEASE": str(release)}
        process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
        running = Server(listener.getsockname()[1], release)
    try:
        assert running.get("/") == "ok"
        yield running
    finally:
        release.touch()
        process.terminate()
        process.wait(30)


def test_health_is_answered_while_every_thread_is_at_work_and_more_wait(server: Server) -> None:
    with server.hanging(4 * THREADS):
        eventually(lambda: server.get("/health/") == "stuck", what="health to say that nothing moves")
    assert server.get("/health/") == "ok"


def test_a_pool_with_a_thread_to_spare_is_not_stuck(server: Server) -> None:
    with server.hanging(THREADS - 1), ThreadPoolExecutor(4) as callers:
        assert set(callers.map(server.get, ["/", "/health/"] * 200)) == {"ok"}


def test_connections_that_say_nothing_take_no_thread(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(4 * THREADS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert server.get("/") == "ok"
