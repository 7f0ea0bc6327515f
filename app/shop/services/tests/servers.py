"""Real servers on this machine that fail in the ways in which a service may fail."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

type Behaviour = Callable[[socket.socket], None]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def serving(behave: Behaviour) -> Iterator[str]:
    """Yield the URL of a server that hands each connection to `behave`, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=[listener, behave], daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # ends accept()


def _accept(listener: socket.socket, behave: Behaviour) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_one, args=[connection, behave], daemon=True).start()


def _one(connection: socket.socket, behave: Behaviour) -> None:
    with connection, contextlib.suppress(OSError):
        behave(connection)


def answer(body: bytes, head: bytes = HEAD) -> Behaviour:
    """Answer each request of a connection with `body`."""

    def behave(connection: socket.socket) -> None:
        while request(connection):
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return behave


def hang(connection: socket.socket) -> None:
    """Read and never answer."""
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    """Close the connection without an answer."""
    request(connection)


def trickle(connection: socket.socket) -> None:
    """Answer byte by byte for a minute."""
    request(connection)
    connection.sendall(HEAD + b"Content-Length: 600\r\n\r\n")
    for _ in range(600):
        connection.sendall(b" ")
        time.sleep(0.1)  # this server is slow: it waits for nothing


def request(connection: socket.socket) -> bytes:
    """Return the head of the next request; empty after the client has closed."""
    text = b""
    while b"\r\n\r\n" not in text and (part := connection.recv(65536)):
        text += part
    return text


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Yield the URL of a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def unreachable() -> Iterator[str]:
    """Yield the URL of a server with a full backlog, which accepts no connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
