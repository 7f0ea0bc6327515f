"""The replicas behind one name.

Docker's DNS, like every other, answers a name with the addresses of all replicas. A library that
looks the name up by itself takes the first that connects and stays with it; here each call picks
one, and avoids those that just failed.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Collection

FRESH = 1.0  # seconds that an answer is used
STALE = 10.0  # seconds that it is used while there is no newer one
SUSPECT = 5.0  # seconds that a replica which failed comes last

Address = tuple[socket.AddressFamily, tuple[str, int]]


def look_up(host: str, port: int) -> list[Address]:
    """Ask the resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, (str(address[0]), port)) for family, _, _, _, address in found))


class Addresses:
    """Where the replicas of one service are."""

    def __init__(self, host: str, port: int, look_up: Callable[[str, int], list[Address]] = look_up) -> None:
        self._host, self._port, self._look_up = host, port, look_up
        self._refreshing = threading.Lock()
        self._known: list[Address] = []
        self._asked = self._answered = float("-inf")
        self._suspects: dict[Address, float] = {}

    def pick(self, tried: Collection[Address], patience: float = 1.0) -> tuple[Address, bool] | None:
        """Return a replica that is not in `tried`, and whether there is another one besides; None
        if there is none.

        While none is known it waits up to `patience` seconds for another thread that asks for them.
        """
        now = time.monotonic()
        left = [address for address in self._current(now, max(0.0, patience)) if address not in tried]
        if not left:
            return None
        good = [address for address in left if self._suspects.get(address, 0.0) <= now]
        return random.choice(good or left), len(left) > 1  # noqa: S311 - no secret

    def suspect(self, address: Address) -> None:
        """Avoid `address` for a while."""
        now = time.monotonic()
        suspects = {other: until for other, until in self._suspects.items() if until > now}
        self._suspects = {**suspects, address: now + SUSPECT}  # replaced, never changed: others are reading it

    def _current(self, now: float, patience: float) -> list[Address]:
        # One thread asks; the others go on with what is known, and wait only if that is nothing, or
        # too old.
        if now - self._asked > FRESH and self._refreshing.acquire(timeout=0 if self._usable() else patience):
            try:
                if now - self._asked > FRESH:
                    self._refresh()
            finally:
                self._refreshing.release()
        return self._usable()

    def _usable(self) -> list[Address]:
        return self._known if time.monotonic() - self._answered <= STALE else []

    def _refresh(self) -> None:
        try:
            self._known = self._look_up(self._host, self._port)
            self._answered = time.monotonic()
        except OSError:
            pass  # a resolver that is away says nothing about the replicas
        self._asked = time.monotonic()
