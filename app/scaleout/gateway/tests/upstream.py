"""Little HTTP servers that follow a script, well or badly, and remember what they
were sent.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Seen:
    """A request as it arrived."""

    head: bytes
    body: bytes = b""
    complete: bool = True

    @property
    def line(self) -> bytes:
        """Return the request line."""
        return self.head.split(b"\r\n", 1)[0]

    def values(self, name: str) -> list[str]:
        """Return the values of the header `name`."""
        lines = [line.decode("latin-1").partition(":") for line in self.head.split(b"\r\n")[1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


Respond = Callable[[socket.socket, Seen], None]
type Start = Callable[..., Upstream]


def say(raw: bytes) -> Respond:
    """Answer with these bytes."""

    def respond(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(raw)

    return respond


def close(sock: socket.socket, _seen: Seen) -> None:
    """Close the connection without an answer."""
    sock.shutdown(socket.SHUT_RDWR)


def hang(sock: socket.socket, _seen: Seen) -> None:
    """Say nothing until the caller has gone."""
    sock.recv(1)


@dataclass
class Upstream:
    """Listen on `host`, at any port unless one is given, and let `respond` answer each request."""

    respond: Respond = field(default_factory=lambda: say(OK))
    host: str = "127.0.0.1"
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Die: no request is answered any more, and no connection is made."""
        with self._lock, suppress(OSError):  # once is enough
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close every connection, as a server does with idle ones."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):  # the caller was first
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock.makefile("rb") as stream:
                while head := _until(stream.readline):
                    seen = Seen(head)
                    with self._lock:
                        self.seen.append(seen)
                    seen.complete = False
                    _read_body(seen, stream.read, stream.readline)
                    if seen.complete:
                        self.respond(sock, seen)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()


def _until(readline: Callable[[], bytes]) -> bytes:
    head = b""
    while line := readline():
        if line == b"\r\n":
            return head
        head += line
    return b""


def _read_body(seen: Seen, read: Callable[[int], bytes], readline: Callable[[], bytes]) -> None:
    if seen.values("Transfer-Encoding"):
        while True:
            size = int(readline() or b"-1", 16)
            if size < 0:
                return
            seen.body += read(size)
            if readline() != b"\r\n":
                return
            if size == 0:
                break
    else:
        length = int((seen.values("Content-Length") or ["0"])[0])
        seen.body = read(length)
        if len(seen.body) < length:
            return
    seen.complete = True
