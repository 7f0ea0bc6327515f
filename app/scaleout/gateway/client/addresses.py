"""The replicas behind one name.

Every DNS server, Docker's too, answers a name with the addresses of all replicas. A library that
resolves the name itself takes the first address that connects and stays with it; here each call
picks a replica, and avoids those that have just failed.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Collection

FRESH = 1.0  # seconds that an answer is used
STALE = 10.0  # seconds that it is used without a newer one
SUSPECT = 5.0  # seconds that a failed replica comes last

Address = tuple[socket.AddressFamily, tuple[str, int]]


def look_up(host: str, port: int) -> list[Address]:
    """Ask the resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, (str(address[0]), port)) for family, _, _, _, address in found))


class Addresses:
    """The addresses of the replicas of one service."""

    def __init__(self, host: str, port: int, look_up: Callable[[str, int], list[Address]] = look_up) -> None:
        self._host, self._port, self._look_up = host, port, look_up
        self._refreshing = threading.Lock()
        self._known: list[Address] = []
        self._asked = self._answered = float("-inf")
        self._suspects: dict[Address, float] = {}

    def pick(self, tried: Collection[Address], patience: float = 1.0) -> tuple[Address, bool] | None:
        """Return a replica that is not in `tried`, and whether another one remains; None if none
        remains.

        Without known addresses it waits up to `patience` seconds for another thread that resolves
        them.
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
        self._suspects = {**suspects, address: now + SUSPECT}  # replaced, never changed: other threads read it

    def _current(self, now: float, patience: float) -> list[Address]:
        # One thread resolves; the others use the known addresses, and wait only without any recent
        # ones.
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
            pass  # a resolver that is down says nothing about the replicas
        self._asked = time.monotonic()
