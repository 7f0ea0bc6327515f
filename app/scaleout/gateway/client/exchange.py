"""One try: one request to one replica, and the beginning of its answer."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scaleout.gateway.client import deadline, draining, headers
from scaleout.gateway.client.body import Body, Held
from scaleout.gateway.client.connection import Connection, TimedSocket
from scaleout.gateway.client.errors import Broken, Cut, CutLate, CutLong, Lost, Refused, Silent, Slow, Unreachable
from scaleout.gateway.client.headers import Headers

_CHUNK = 65536
_PROBED = 16_384  # bytes of an answer to a probe


@dataclass(frozen=True)
class Request:
    """A request to a replica."""

    method: str
    target: str
    headers: Headers
    body: Body

    @classmethod
    def get(cls, target: str, passed: Headers) -> Request:
        """Return a request of the gateway's own."""
        return cls("GET", target, [*passed, ("Accept-Encoding", "identity")], Held())


class Answer:
    """An answer whose beginning has arrived: status, header, first bytes. Iterate over it for the
    body, then close it.

    `whole`: all of it was read. `cut`: the service broke it off. `last`: the replica drains.
    """

    def __init__(self, method: str, response: http.client.HTTPResponse, sock: TimedSocket, most: int) -> None:
        """Raise Broken if it cannot be passed on, OSError and http.client's errors if it does not
        come.
        """
        self.status, self.reason = response.status, response.reason
        if not 200 <= self.status <= 599:
            raise Broken(f"the answer has the status {self.status}")
        if not self.reason.isascii() or not self.reason.isprintable():
            self.reason = ""
        self.headers = headers.from_service(response.msg)
        self.last = draining.HEADER in response.msg
        self.length = headers.length(response.msg)
        if self.status != 204 and self.length is not None:
            self.headers.append(("Content-Length", str(self.length)))
        self._response, self._sock, self._left = response, sock, most
        self.whole = self.cut = False
        self._finish: Callable[[Answer], None] | None = None
        self._until, self._wait = 0.0, 0.0
        if self.status in (204, 304):
            response.chunked = False  # no body follows, in spite of the header; read1() would wait for one
        if method == "HEAD":
            response.read()  # nothing; read1() would not notice the end
        # Read here, where the gateway can still answer a failure with a status.
        self._first = self._read()

    def begin(self, until: float, wait: float, finish: Callable[[Answer], None]) -> None:
        """Give the rest until `until`, and `wait` seconds for each piece; call `finish` once it is
        closed.
        """
        self._until, self._wait, self._finish = until, wait, finish

    def end_by(self, until: float) -> None:
        """Cut the rest at `until` (monotonic), if that is earlier than its end so far."""
        self._until = min(self._until, until)

    def read(self, until: float, most: int) -> bytes:
        """Return the whole body and close it. Raises Cut, also after `most` bytes or at `until`
        (monotonic).
        """
        self.end_by(until)
        try:
            body = bytearray()
            for piece in self:
                body += piece
                if len(body) > most:
                    raise CutLong(f"the answer has more than {most} bytes")
            return bytes(body)
        finally:
            self.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next piece. Raises Cut where the service breaks off, is too slow or sends too
        much.
        """
        piece, self._first = self._first, b""
        if not piece:
            if (now := time.monotonic()) >= self._until:  # while the caller had the last piece
                raise CutLate("the caller took too long")
            self._sock.until = min(now + self._wait, self._until)
            try:
                piece = self._read()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.cut = True
                raise (CutLate if isinstance(error, TimeoutError) else Cut)(str(error)) from error
        self._left -= len(piece)
        if self._left < 0:
            self.cut = True
            raise CutLong("the answer is too large")
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Release the connection; keep it if the whole answer was read."""
        self._response.close()
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(self)

    def __del__(self) -> None:
        """Release it if a middleware that failed after the view has dropped the answer."""
        if getattr(self, "_finish", None) is not None:
            self.close()

    def _read(self) -> bytes:
        piece = self._response.read1(_CHUNK)
        # http.client takes an early end for the normal one.
        if not piece and self._response.length:
            raise http.client.IncompleteRead(b"", self._response.length)
        self.whole = self._response.isclosed()
        return piece


def open_connection(connection: Connection, seconds: float) -> TimedSocket:
    """Return the socket of `connection`, connected. Raises Unreachable."""
    if connection.used and isinstance(connection.sock, TimedSocket):
        return connection.sock
    try:
        return connection.open(seconds)
    except OSError as error:
        raise Unreachable(str(error)) from error


def ask_first(connection: Connection, sock: TimedSocket, path: str, until: float, *, choosy: bool) -> None:
    """Request `path` first on a new connection. Raises Silent, Unreachable.

    The kernel of a replica that hangs, or stops, accepts connections as well, and a POST that was
    sent there could not be sent to another one. `choosy`: another replica exists, so an answer that
    is not 200 is refused.
    """
    sock.until = until
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read(_PROBED)
    except TimeoutError as error:
        raise Silent(f"no answer to {path}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from error
    if answer.will_close or not answer.isclosed() or (choosy and answer.status != 200):
        raise Unreachable(f"{path} is answered with {answer.status}")


def exchange(connection: Connection, sock: TimedSocket, request: Request, until: float, most: int) -> Answer:
    """Send `request` and return the beginning of its answer. Raises Lost, Slow, Broken, and Refused
    for a bad body.
    """
    sock.until = until
    try:
        _send(connection, request, until)
        response = connection.getresponse()
        try:
            return Answer(request.method, response, sock, most)
        except BaseException:
            response.close()
            raise
    except TimeoutError as error:
        raise Slow("no answer in time") from error
    except (http.client.RemoteDisconnected, ConnectionError) as error:
        raise Lost(str(error), stale=connection.used) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Broken(f"{type(error).__name__}: {error}") from error


def _send(connection: Connection, request: Request, until: float) -> None:
    body = request.body
    connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers:
        connection.putheader(name, value)
    for name, value in deadline.headers(until - time.monotonic()).items():
        connection.putheader(name, value)
    if body.chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif body.length is not None:
        connection.putheader("Content-Length", str(body.length))
    connection.endheaders()
    try:
        for piece in body:
            if time.monotonic() >= until:  # the caller is late, not the service
                raise Refused(400, "body", "The body of the request came too slowly.")
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if body.chunked else piece)
        if body.chunked:
            connection.send(b"0\r\n\r\n")
    except ConnectionError:
        pass  # an answer before the end, such as 413, counts
