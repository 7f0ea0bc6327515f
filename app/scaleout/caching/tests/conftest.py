"""Real processes around a real Redis of the test's own, which can be frozen and killed."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from pytest_django import Settings
from waiting import eventually

import redis
from scaleout.caching.source import source


@pytest.fixture(autouse=True)
def _one_database(settings: Settings) -> Iterator[None]:
    """No replicas: the project's own source is tested where it is, in config/."""
    settings.CACHING = settings.CACHING | {"SOURCE": None, "PICKLES": True}  # a project may; the shop does not
    source.cache_clear()
    yield
    source.cache_clear()


class Worker:
    """One process that caches."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._commands, theirs = forked.Pipe()
        self._process = forked.start("scaleout.caching.tests.worker", theirs, **environment)
        theirs.close()

    def send(self, *command: Any) -> None:
        """Tell it what to do, without waiting."""
        self._commands.send(command)

    def answer(self) -> Any:
        """Return its next answer. Raises EOFError if it has ended."""
        return self._commands.recv()

    def do(self, *command: Any) -> Any:
        """Tell it what to do and return what it answers."""
        self.send(*command)
        return self.answer()

    def value(self) -> str:
        """Call the cached function."""
        return str(self.do("call")["value"])

    def kill(self) -> None:
        """End it as if the machine had lost power."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._commands.close()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.join(10)
        assert self._process.exitcode is not None


class Cluster:
    """A Redis, and the processes around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.workers: list[Worker] = []
        self.start()

    def start(self) -> None:
        """Start Redis, empty."""
        command = f"redis-server --port 0 --unixsocket {self.socket} --save '' --appendonly no --dir {self.folder}"
        self._redis = subprocess.Popen(["sh", "-c", f"exec {command}"], stdout=subprocess.DEVNULL)
        eventually(self._answers, 10, "Redis to answer")

    @property
    def client(self) -> redis.Redis:
        """A connection of the test's own."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2)

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """Kill Redis."""
        self._redis.kill()
        self._redis.wait()

    def freeze(self) -> None:
        """Pause Redis: it accepts connections and answers none."""
        self._redis.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume Redis."""
        self._redis.send_signal(signal.SIGCONT)

    def spawn(self, number: int = 1, *, patience: float = 10.0, **environment: str) -> list[Worker]:
        """Start processes, and wait until they listen.

        `patience`: how many times longer than in production they wait for Redis. A busy machine has
        a slow one, and only some tests are about what that is worth.
        """
        given = {"TEST_REDIS": str(self.socket), "FOLDER": str(self.folder), "PATIENCE": str(patience), **environment}
        new = [Worker(given) for _ in range(number)]
        self.workers += new
        for worker in new:
            worker.send("listening")
        for worker in new:
            assert worker.answer() is True
        return new

    def put(self, text: str) -> None:
        """Write what the function will find, past the cache."""
        (self.folder / "truth").write_text(text)

    @property
    def computed(self) -> int:
        """How many times the function has run, in all processes."""
        file = self.folder / "computed"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def end(self) -> None:
        """Stop everything."""
        for worker in self.workers:
            worker.kill()
        self.thaw()
        self.kill()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="caching-") as folder:
        found = Cluster(Path(folder))
        found.put("old")
        yield found
        found.end()
