"""Thousands of connections from one process: busy clients and silent ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from support.settings import TIME_FACTOR

PATIENCE = 30.0  # seconds for one answer, or to connect
AT_ONCE = 200  # connections that are being opened
PORT = 8080
SHED = 503
OWN = "/metrics"  # the load balancer answers it itself


@dataclass
class Crowd:
    """Clients with kept connections during a block.

    `busy` ones request `path` at `rate` a second in total (0: as fast as possible). `silent` ones
    send one request that the load balancer answers itself, then nothing. With `greeting` a busy one
    opens its connection with such a request at once, not when its first turn comes.
    """

    address: str
    path: str = "/counter/"
    busy: int = 0
    rate: float = 0.0
    silent: int = 0
    greeting: bool = False
    answers: Counter[int] = field(default_factory=Counter, init=False)
    broken: list[str] = field(default_factory=list, init=False)  # requests without a complete answer
    bare: list[str] = field(default_factory=list, init=False)  # heads of a 503 without problem+json or Retry-After
    connected: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._stop = asyncio.Event()
        self._pace = self.busy / self.rate if self.rate else 0.0
        self._hurried = asyncio.Event()
        self._door = asyncio.Semaphore(AT_ONCE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def hurry(self) -> None:
        """Send requests as fast as possible from now on, over the same connections."""
        self._loop.call_soon_threadsafe(self._hurried.set)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), max(0.0, seconds))

    async def _run(self) -> None:
        callers = [asyncio.create_task(self._ask(number)) for number in range(self.busy)]
        callers += [asyncio.create_task(self._say_nothing()) for _ in range(self.silent)]
        await self._stop.wait()
        for caller in callers:
            caller.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
        self.broken += [repr(end) for end in ends if not isinstance(end, asyncio.CancelledError)]

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with self._door, asyncio.timeout(PATIENCE * TIME_FACTOR):
            reader, writer = await asyncio.open_connection(self.address, PORT)
        self.connected += 1
        try:
            yield reader, writer
        finally:
            self.connected -= 1
            writer.transport.abort()

    async def _say_nothing(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with self._connection() as (reader, writer):
                    writer.write(_request(OWN))
                    await reader.read()

    async def _ask(self, number: int) -> None:
        due = time.monotonic() + self._pace * number / self.busy
        while True:
            sent = False
            if not self.greeting:
                await self._pause(due - time.monotonic())  # a new connection sends a request at once
            try:
                async with self._connection() as (reader, writer):
                    if self.greeting:
                        await self._greet(reader, writer)
                    await self._pause(due - time.monotonic())
                    while not reader.at_eof():  # the load balancer may close it while idle
                        due = max(due + self._pace, time.monotonic())
                        writer.write(_request(self.path))
                        sent = True
                        async with asyncio.timeout(PATIENCE * TIME_FACTOR):
                            kept = await self._answer(reader)
                        sent = False
                        if not kept:
                            break
                        await self._pause(due - time.monotonic())
            except (OSError, TimeoutError, EOFError) as error:
                self.broken.append(f"{'asked' if sent else 'connecting'}: {type(error).__name__} {error}")
                await asyncio.sleep(0.1)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_request(OWN))
        async with asyncio.timeout(PATIENCE * TIME_FACTOR):
            if not await self._answer(reader):
                raise ConnectionError("the load balancer did not keep the connection after its own answer")

    async def _answer(self, reader: asyncio.StreamReader) -> bool:
        """Read one answer, and return whether the connection is kept."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        status = int(head.split()[1])
        self.answers[status] += 1
        says_when = "\r\nretry-after: " in head
        if status == SHED and not (says_when and "\r\ncontent-type: application/problem+json" in head):
            self.bare.append(head)
        return "\r\nconnection: close" not in head


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
