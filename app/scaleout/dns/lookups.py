"""Name look-ups that never hold up a request.

Docker's resolver knows the names of running containers. Before engine 23 it does not answer at all
for another name on an internal network. So a look-up of a container that has just stopped would
cost every caller the C library's whole time-out, at least a second. Here the first caller waits
DEADLINE. After that the name fails at once, while one thread retries until the resolver answers.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from scaleout.base import in_child

DEADLINE = 0.3  # seconds that a caller waits for an answer
RETRY = 0.2  # seconds between two tries of a name that fails
FORGET = 30.0  # seconds after the last caller until the retries end

_system_getaddrinfo = socket.getaddrinfo


class _Lookup(threading.Thread):
    """One name, looked up again and again until the resolver answers or no caller wants it."""

    def __init__(self, names: Names, key: tuple[Any, ...]) -> None:
        super().__init__(name=f"lookup-{key[0]}", daemon=True)
        self._names = names
        self._key = key
        self.wanted = time.monotonic()
        self.settled = threading.Event()  # set by the first answer or failure
        self.answer: list[Any] | None = None

    def run(self) -> None:
        while time.monotonic() - self.wanted < FORGET:
            try:
                self.answer = _system_getaddrinfo(*self._key)
                break
            except OSError:
                self.settled.set()
                time.sleep(RETRY)
        self._names.forget(self._key)
        self.settled.set()


class Names:
    """The look-ups under way, by their arguments."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh: threads do not survive a fork."""
        self._lock = threading.Lock()
        self._under_way: dict[tuple[Any, ...], _Lookup] = {}

    def forget(self, key: tuple[Any, ...]) -> None:
        """End the look-up `key`: the next caller starts a new one."""
        with self._lock:
            self._under_way.pop(key, None)

    def getaddrinfo(  # noqa: PLR0913, PLR0917 - as many as socket.getaddrinfo takes
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that callers of socket.getaddrinfo use
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Do as `socket.getaddrinfo`, but raise gaierror after DEADLINE, and at once if the name is
        known to fail.
        """
        key = (host, port, family, type, proto, flags)
        with self._lock:
            lookup = self._under_way.get(key)
            if lookup is None:
                lookup = self._under_way[key] = _Lookup(self, key)
                lookup.start()
            lookup.wanted = time.monotonic()
        # The remaining time of the first caller's wait; nothing once it is over.
        if not lookup.settled.is_set():
            lookup.settled.wait(DEADLINE)
            lookup.settled.set()
        if lookup.answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, f"no address for {host!r} at the moment")
        return lookup.answer


def install() -> None:
    """Let everything in this process (psycopg, redis-py, requests) look names up this way."""
    names = Names()
    in_child(names.reset)
    socket.getaddrinfo = names.getaddrinfo
