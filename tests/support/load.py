"""A bounded load generator that counts the outcome of every single request."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import select
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from support.callers import Callers
from support.client import Site
from support.settings import TIME_FACTOR

LONGEST = 120.0  # seconds after which a load ends by itself
PATIENCE = 10.0  # seconds to wait for an answer


@dataclass(frozen=True)
class Outcome:
    """The outcome of one request. Times in seconds; `started` counts from the load's start."""

    method: str
    path: str
    id: str
    started: float
    seconds: float
    status: int | None
    replica: str | None
    error: str | None
    says: str = ""  # the beginning of an answer other than 200

    @property
    def failed(self) -> bool:
        """Whether the answer was anything but a 200."""
        return self.status != 200

    def __str__(self) -> str:
        what = self.error or self.status
        where = f"{self.replica} {self.id} {self.says}".rstrip()
        return f"{self.started:6.2f} s  {self.method} {self.path}  {what} after {self.seconds:.3f} s  {where}"


@dataclass
class Load(Callers):
    """Requests to `paths` in turn at `rate` a second from `threads` callers, until the block ends.

    With `keepalive` a caller reuses its connection. As every HTTP client library does, it checks
    for a closed connection before it sends. It never retries.
    """

    site: Site
    paths: Sequence[str] = ("/",)
    method: str = "GET"
    rate: float = 60.0
    threads: int = 4
    keepalive: bool = True
    longest: float = LONGEST
    headers: Mapping[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        super().__init__(self.threads)
        self._path = itertools.cycle(self.paths)
        self._lock = threading.Lock()
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        return super().__enter__()

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    def since(self, moment: float) -> list[Outcome]:
        """Return the outcomes of requests started after `moment`, in seconds of the load."""
        return [one for one in list(self.outcomes) if one.started >= moment]

    def failures(self) -> list[Outcome]:
        """Return the failed requests in the order in which they were sent."""
        return sorted((one for one in list(self.outcomes) if one.failed), key=lambda one: one.started)

    def answered(self) -> int:
        """Return how many requests were answered 200."""
        return sum(not one.failed for one in list(self.outcomes))

    def replicas(self, since: float = 0.0) -> set[str]:
        """Return the names of the replicas that answered requests started after `since`."""
        return {one.replica for one in self.since(since) if one.replica}

    def summary(self) -> str:
        """Return the counts by outcome, the slowest, and the first failures."""
        done = list(self.outcomes)
        kinds = Counter(one.error or str(one.status) for one in done)
        slowest = max((one.seconds for one in done), default=0.0)
        head = f"{len(done)} times {self.method} in {self.elapsed:.1f} s: {dict(kinds)}, slowest {slowest:.3f} s"
        return "\n".join([head, *(f"  {one}" for one in self.failures()[:10])])

    def _run(self, number: int) -> None:
        interval = self.threads / self.rate
        due = self.began + interval * number / self.threads
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            if now - self.began > self.longest * TIME_FACTOR:
                break
            # A delayed caller does not send its missed requests in a burst.
            due = max(due + interval, now)
            with self._lock:
                path = next(self._path)
            connection = self._one(path, connection)
        if connection is not None:
            connection.close()

    def _one(self, path: str, connection: http.client.HTTPConnection | None) -> http.client.HTTPConnection | None:
        identifier = uuid.uuid4().hex
        started = time.monotonic()
        status, replica, error, says = None, None, None, ""
        try:
            if connection is None or not _alive(connection):
                connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=PATIENCE * TIME_FACTOR)
                connection.connect()
            connection.request(self.method, path, headers=self._headers(identifier))
            answer = connection.getresponse()
            body = answer.read()
            says = "" if answer.status == 200 else body[:200].decode("utf-8", "replace")
            status, replica = answer.status, answer.getheader("X-Served-By")
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        took = time.monotonic() - started
        began = started - self.began
        self.outcomes.append(Outcome(self.method, path, identifier, began, took, status, replica, error, says))
        if connection is not None and (error is not None or not self.keepalive):
            connection.close()
            return None
        return connection

    def _headers(self, identifier: str) -> dict[str, str]:
        connection = "keep-alive" if self.keepalive else "close"
        return {"X-Request-ID": identifier, "Connection": connection, "User-Agent": "scale-out-tests", **self.headers}


def _alive(connection: http.client.HTTPConnection) -> bool:
    """Return whether the server has left the idle connection open."""
    if connection.sock is None:
        return False
    with contextlib.suppress(OSError, ValueError):
        return not select.select([connection.sock], [], [], 0)[0]
    return False


def assert_all_answered(*loads: Load) -> None:
    """Assert that the loads sent requests, and that each was answered 200."""
    for load in loads:
        assert load.outcomes, "the load sent nothing"
        assert not load.failures(), load.summary()


def at_once[T](times: int, workers: int, call: Callable[[int], T]) -> list[T]:
    """Return the results of `call(0)` … `call(times - 1)`, `workers` of them at a time."""
    results: list[T | BaseException | None] = [None] * times
    numbers = iter(range(times))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = call(number)
            except BaseException as error:
                results[number] = error

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [one for one in results if isinstance(one, BaseException)]
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {times} calls failed", [e for e in errors if isinstance(e, Exception)])
    return [one for one in results if not isinstance(one, BaseException)]  # type: ignore[misc]
