"""The retry budget: under overload each retry costs a replica as much as a first attempt."""

import asyncio
import contextlib
from collections import deque
from pathlib import Path

WINDOW = 10.0  # seconds of the window
SHARE = 0.1  # retries per request of the window
SPARE = 20  # retries in any case, so that a quiet site may retry
SHED_WINDOW = 2.0
SHED = 5  # rejected requests in SHED_WINDOW; above it the site is shedding load

STATUS_PORT = 8081
STATUS_SECONDS = 0.5


class Budget:
    """The counts of nginx's requests, retries and rejections; allows or forbids retries."""

    def __init__(self) -> None:
        self._second: deque[float] = deque(maxlen=100_000)
        self._refused: deque[float] = deque(maxlen=SHED + 1)
        self._totals: deque[tuple[float, int]] = deque()

    def record(self, line: str, now: float) -> None:
        """Record one line of nginx: the status of the answer, and those of all attempts."""
        status, _, tries = line.strip().rpartition("outcome: ")[2].partition(" ")
        if status == "503":
            self._refused.append(now)
        if "504, " in tries:
            self._second.append(now)

    def total(self, requests: int, now: float) -> None:
        """Record the number of requests that nginx has had since its start."""
        if self._totals and requests < self._totals[-1][1]:
            self._totals.clear()  # nginx was restarted
        self._totals.append((now, requests))
        while len(self._totals) > 1 and self._totals[0][0] < now - WINDOW:
            self._totals.popleft()

    def allows(self, now: float) -> bool:
        """Return whether nginx may retry a slow request."""
        while self._second and self._second[0] < now - WINDOW:
            self._second.popleft()
        shedding = len(self._refused) > SHED and self._refused[0] > now - SHED_WINDOW
        requests = self._totals[-1][1] - self._totals[0][1] if self._totals else 0
        return not shedding and len(self._second) <= SPARE + SHARE * requests


class OutcomeReceiver(asyncio.DatagramProtocol):
    """The socket to which nginx logs each retried or rejected request."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Record a line."""
        self._budget.record(data.decode(errors="replace"), asyncio.get_running_loop().time())


async def listen(budget: Budget, socket: Path) -> asyncio.DatagramTransport:
    """Open the socket. It must exist when nginx starts."""
    socket.unlink(missing_ok=True)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: OutcomeReceiver(budget), local_addr=str(socket), family=1
    )
    return transport


async def requests() -> int | None:
    """Return nginx's own count of its requests; None if it does not answer."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", STATUS_PORT)
            writer.write(b"GET /stub_status HTTP/1.0\r\n\r\n")
            text = (await reader.read(4096)).decode()
        return int(text.split("requests")[-1].split()[2])
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()


def mark(file: Path, wanted: bool) -> None:
    """Create or remove the file that makes nginx try once."""
    with contextlib.suppress(OSError):
        if wanted:
            file.touch()
        else:
            file.unlink(missing_ok=True)
