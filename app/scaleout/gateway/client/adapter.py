"""The client as a transport adapter of `requests`: a request of a Session goes to one of the
replicas of a service, with what protects the gateway's own.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response, exceptions
from requests.adapters import BaseAdapter
from requests.utils import get_encoding_from_headers

from scaleout.gateway.client import deadline
from scaleout.gateway.client.body import Held
from scaleout.gateway.client.errors import Cut, CutLate, CutLong, Failed, Refused, Silent, Slow
from scaleout.gateway.client.exchange import Answer, Request
from scaleout.gateway.client.headers import HOP, Headers
from scaleout.gateway.client.service import Service

MOST = 1_048_576  # bytes of an answer, decoded
_LONGEST = 3600.0  # seconds: the deadline header has four digits for them
_FRAMING = HOP | {"content-length", "host"}  # written by the client
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_PIECE = 65536

type Timeout = float | tuple[float | None, float | None] | None


class BreakerOpen(exceptions.ConnectionError):
    """The circuit breaker of the service is open: nothing was sent."""


class Busy(exceptions.ConnectionError):
    """The service has its most calls in progress: nothing was sent."""


class AnswerTooLarge(exceptions.RequestException):
    """The answer has more bytes than the adapter accepts."""


class ServiceAdapter(BaseAdapter):
    """Send requests to the replicas of `service`, and take at most `most` bytes of each answer.

    `timeout` is the deadline for the whole answer; a pair of time-outs is added up. Without one it
    is the policy's `total`. It is never later than the deadline of the request that is answered at
    the moment. TLS and proxies are not used.
    """

    def __init__(self, service: Service, most: int = MOST) -> None:
        super().__init__()
        self.service, self.most = service, most

    def send(  # noqa: PLR0913, PLR0917 - the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Timeout = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the answer, whose body is read later. Raises RequestException; ValueError for a
        time-out or a body that cannot be used.
        """
        until = time.monotonic() + deadline.left(_seconds(timeout, self.service.policy.total))
        try:
            answer = self.service.call(_request(request), until)
        except (Failed, Refused) as error:
            raise _exception(error)(f"{self.service.name}: {error}", request=request) from error
        answer.end_by(until)
        return self._response(request, answer)

    def close(self) -> None:
        """Do nothing: the service outlives a session, and closes idle connections by itself."""

    def _response(self, request: PreparedRequest, answer: Answer) -> Response:
        response = _Response()
        response.request, response.url = request, str(request.url)
        response.status_code, response.reason = answer.status, answer.reason
        for name, value in answer.headers:
            known = response.headers.get(name)
            response.headers[name] = value if known is None else f"{known}, {value}"
        response.encoding = get_encoding_from_headers(response.headers)
        coding = response.headers.get("Content-Encoding", "").strip().lower() or "identity"
        response.raw = _Raw(answer, _pieces(answer, coding, self.most, request))
        response.connection = self  # type: ignore[assignment]  # the stubs know of one adapter only
        return response


class _Response(Response):
    def json(self, **kwargs: Any) -> Any:
        """Do as Response.json. Raises JSONDecodeError, also for what is nested too deeply."""
        try:
            return super().json(**kwargs)
        except RecursionError as error:
            raise exceptions.JSONDecodeError("too many levels", "", 0) from error


class _Raw:
    """The body as a file, for Response."""

    def __init__(self, answer: Answer, pieces: Iterator[bytes]) -> None:
        self._answer, self._pieces, self._rest = answer, pieces, b""

    def read(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """Return up to `amt` bytes, all without it, none at the end; decoded in any case."""
        if amt is None or amt < 0:
            rest, self._rest = self._rest, b""
            return rest + b"".join(self._pieces)
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:amt], self._rest[amt:]
        return piece

    def close(self) -> None:
        """Release the connection."""
        self._answer.close()


def _seconds(timeout: Timeout, default: float) -> float:
    parts = timeout if isinstance(timeout, tuple) else (timeout,)
    if len(parts) not in (1, 2) or not all(part is None or isinstance(part, int | float) for part in parts):
        raise ValueError(f"timeout {timeout!r} is neither a number of seconds nor a pair of them")
    if timeout is None:
        return default
    try:
        seconds = math.fsum(default if part is None else part for part in parts)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"timeout {timeout!r} has no end")
    return min(seconds, _LONGEST)


def _request(request: PreparedRequest) -> Request:
    """Return what the client sends. It writes the framing by itself."""
    body: Any = request.body.encode() if isinstance(request.body, str) else request.body
    if body is None and request.headers.get("Content-Length") == "0":
        body = b""  # a method that has a body, and none
    if not isinstance(body, bytes | None):
        raise ValueError("a body must be bytes or a str: what is streamed cannot be sent")
    passed: Headers = [("Host", request.headers.get("Host") or urlsplit(str(request.url)).netloc)]
    for name, value in request.headers.items():
        if name.lower() not in _FRAMING:
            passed.append((name, value.decode("latin-1") if isinstance(value, bytes) else value))
    try:  # as http.client writes them: the caller's mistake must not count against the service
        "".join([str(request.method), *(name for name, _ in passed)]).encode("ascii")
        "".join(value for _, value in passed).encode("latin-1")
    except UnicodeEncodeError as error:
        raise exceptions.InvalidHeader(f"the method or a header cannot be sent: {error}", request=request) from error
    return Request(str(request.method), request.path_url, passed, Held(body))


def _exception(error: Failed | Refused) -> type[exceptions.RequestException]:
    match error:
        case Refused(reason="open"):
            return BreakerOpen
        case Refused(reason="busy"):
            return Busy
        case Refused(reason="late") | Silent():
            return exceptions.ConnectTimeout  # nothing was sent
        case Refused() | Slow():
            return exceptions.ReadTimeout
    return exceptions.ConnectionError


def _pieces(answer: Answer, coding: str, most: int, request: PreparedRequest) -> Iterator[bytes]:
    """Yield the body, decoded, and close the answer at the end, whatever that is."""
    size = 0
    try:
        for piece in _decoded(answer, coding):
            size += len(piece)
            if size > most:
                raise CutLong(f"the answer is larger than {most} bytes")
            if piece:
                yield piece
    except CutLate as error:
        raise exceptions.ReadTimeout(str(error), request=request) from error
    except CutLong as error:
        raise AnswerTooLarge(str(error), request=request) from error
    except Cut as error:
        raise exceptions.ChunkedEncodingError(str(error), request=request) from error
    except zlib.error as error:
        raise exceptions.ContentDecodingError(str(error), request=request) from error
    finally:
        answer.close()


def _decoded(answer: Answer, coding: str) -> Iterator[bytes]:
    """Yield the body in pieces that fit in memory, however well it is compressed. Raises Cut,
    zlib.error.
    """
    if coding == "identity":
        yield from answer
        return
    if coding not in ("gzip", "x-gzip", "deflate"):
        if any(answer):  # an answer to HEAD has none
            raise zlib.error(f"the content encoding {coding!r} is not known")
        return
    decoder, begun, rest = zlib.decompressobj(_GZIP_OR_ZLIB), False, b""
    for piece in answer:
        rest += piece
        if not begun and len(rest) < 2:
            continue  # the header has two bytes
        if not begun and coding == "deflate" and (rest[0] & 15 != zlib.DEFLATED or int.from_bytes(rest[:2]) % 31):
            decoder = zlib.decompressobj(-zlib.MAX_WBITS)  # without its header (RFC 1950), as some send it
        begun = True
        while rest:
            yield decoder.decompress(rest, _PIECE)
            rest = decoder.unconsumed_tail
            if decoder.eof:
                rest = decoder.unused_data
                if not rest.startswith(b"\x1f"):  # no other member of the file: padding, which is ignored
                    rest = b""
                    break
                decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    if rest:
        raise zlib.error("the compressed answer ended before its end")
    yield decoder.flush(_PIECE)
    if begun and not decoder.eof:
        raise zlib.error("the compressed answer ended before its end")
