"""The headers of an answer that may pass, and the length that it declares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.errors import MultipartInvariantViolationDefect, StartBoundaryNotFoundDefect
from http.client import HTTPMessage

from scaleout.gateway.client.errors import Broken

Headers = list[tuple[str, str]]

# RFC 9110, section 7.6.1, and its predecessors. Expect is answered by the server in front of this
# code.
HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "http2-settings", "expect", "x-connection-options",
})  # fmt: skip
# Of an answer: framing and what the server in front sets by itself; x-accel- would be orders to
# nginx.
_NOT_BACK = frozenset({"content-length", "date", "server", "x-request-id", "x-draining"})
_ORDERS = "x-accel-"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What a parser of mail finds missing in the header of a multipart answer, whose body it has not
# seen.
_NO_DEFECT = (StartBoundaryNotFoundDefect, MultipartInvariantViolationDefect)


def from_service(message: HTTPMessage) -> Headers:
    """Return the headers for the caller, repeated ones as they are. Raises Broken for a malformed
    header.
    """
    if [defect for defect in message.defects if not isinstance(defect, _NO_DEFECT)] or (
        not message.is_multipart() and message.get_payload()
    ):
        raise Broken("the header of the answer could not be read")
    hop = named(",".join(message.get_all("Connection", [])))
    passed: Headers = []
    for name, value in message.items():
        low = name.lower()
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise Broken(f"the header {name[:40]!r} of the answer is malformed")
        if low not in HOP and low not in hop and low not in _NOT_BACK and not low.startswith(_ORDERS):
            passed.append((name, value))
    return passed


def length(message: HTTPMessage) -> int | None:
    """Return the declared length, None without one. Raises Broken for an ambiguous one."""
    # White space around a value is not part of it (RFC 9110, 5.5); http.client would not find
    # "chunked " to be chunked.
    lengths = [value.strip(" \t") for value in message.get_all("Content-Length", [])]
    codings = message.get_all("Transfer-Encoding", [])
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"] or lengths:
            raise Broken("the length of the answer is ambiguous")
        return None
    if not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Broken("the length of the answer is ambiguous")
    return int(lengths[0])


def named(connection: str) -> Iterable[str]:
    """Return the headers that `Connection` declares as those of the hop."""
    return {name.strip().lower() for name in connection.split(",")}
