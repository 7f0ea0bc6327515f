"""Connections to replicas: idle ones are kept for each thread, and every wait on them is bounded.

`http.client` and not `requests`, which is built on it: see docs/decisions/gateway.md.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from collections.abc import Buffer
from typing import Any

from scaleout.gateway.client.addresses import Address

# Seconds that an idle connection may be reused: less than a replica drains, so that a reused one
# can still report that the replica drains.
IDLE = 4.0


class TimedSocket(socket.socket):
    """A socket whose reads and writes end at `until` (monotonic), however slowly the bytes
    arrive.
    """

    until = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Do as socket.recv_into. Raises TimeoutError."""
        self._hurry()
        return super().recv_into(*args, **kwargs)

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Do as socket.sendall. Raises TimeoutError."""
        self._hurry()
        super().sendall(data, flags)

    def __del__(self) -> None:
        """Close it: a thread that ends leaves its idle connections behind."""
        self.close()

    def _hurry(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)


class _Response(http.client.HTTPResponse):
    """An answer with any interim responses before it (RFC 9110, 15.2): http.client skips
    100 only.
    """

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if not 102 <= status <= 199:  # 101 is final: another protocol follows
                return version, status, reason
            http.client.parse_headers(self.fp)


class Connection(http.client.HTTPConnection):
    """A connection to one replica, by its address, without a name look-up."""

    response_class = _Response

    def __init__(self, address: Address) -> None:
        super().__init__(*address[1])
        self.address = address
        self.used = False

    def open(self, seconds: float) -> TimedSocket:
        """Connect. Raises OSError."""
        family, where = self.address
        sock = TimedSocket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(where)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
        return sock


class Kept(threading.local):
    """The idle connections of the calling thread."""

    def __init__(self) -> None:
        self._idle: dict[Address, tuple[Connection, float]] = {}

    def take(self, address: Address) -> Connection:
        """Return a connection to `address`: an idle one, if it is young and the replica has not
        closed it.
        """
        connection, since = self._idle.pop(address, (None, 0.0))
        if connection is not None:
            if time.monotonic() - since < IDLE and _quiet(connection.sock):
                connection.used = True
                return connection
            connection.close()
        return Connection(address)

    def keep(self, connection: Connection) -> None:
        """Keep `connection` for the next call of this thread, and close what has grown too old."""
        now = time.monotonic()
        for address, (other, since) in list(self._idle.items()):
            if now - since >= IDLE or address == connection.address:
                del self._idle[address]
                other.close()
        if connection.sock is not None:  # http.client closes it if the replica asks for that
            self._idle[connection.address] = (connection, now)


def _quiet(sock: Any) -> bool:
    """Return whether nothing waits to be read: an unexpected byte or end makes the connection
    unusable.
    """
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)
