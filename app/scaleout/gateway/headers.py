"""Which headers pass, and which do not.

Between two hops some headers belong to the hop. Others say who somebody is: those are set here or
by the load balancer in front, and a caller's own are dropped, so that a service may believe them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.errors import MultipartInvariantViolationDefect, StartBoundaryNotFoundDefect
from http.client import HTTPMessage
from typing import Any

from scaleout.gateway.errors import Broken

Headers = list[tuple[str, str]]

# RFC 9110, section 7.6.1, and its predecessors. Expect is answered by the server in front of this
# code.
_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "http2-settings", "expect", "x-connection-options",
})  # fmt: skip
# Set for each request, below and by `settings.GATEWAY_HEADERS`.
_OURS = frozenset({
    "host", "content-length", "x-deadline", "x-request-id", "traceparent", "tracestate", "x-real-ip",
})  # fmt: skip
# What speaks for a caller or rewrites an address. The load balancer's own are added again below.
_UNTRUSTED = (
    "forwarded", "x-forwarded", "x-original-", "x-rewrite-", "x-scheme", "proxy",
    "remote-", "x-remote-", "x-user", "x-auth", "x-identity", "x-internal", "x-service", "x-staff",
)  # fmt: skip
# Of an answer: framing and what the server in front sets by itself; x-accel- would be orders to
# nginx.
_NOT_BACK = frozenset({"content-length", "date", "server", "x-request-id", "x-draining"})
_ORDERS = "x-accel-"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What a parser of mail finds missing in the header of a multipart answer, whose body it has not
# seen.
_NO_DEFECT = (StartBoundaryNotFoundDefect, MultipartInvariantViolationDefect)


def to_service(environ: dict[str, Any], request: Mapping[str, str]) -> Headers:
    """Return what goes to the service: the caller's headers without those of the hop, and the ones
    that are ours.

    `request`: the headers that say which request this is.
    """
    # The load balancer in front has a connection of its own; it says here what stood in the
    # caller's `Connection`.
    named = _named(f"{environ.get('HTTP_CONNECTION', '')},{environ.get('HTTP_X_CONNECTION_OPTIONS', '')}")
    passed: Headers = []
    for key, value in environ.items():
        if not key.startswith("HTTP_") and not (key == "CONTENT_TYPE" and value):
            continue
        name = key.removeprefix("HTTP_").replace("_", "-").title()
        low = name.lower()
        if low not in _HOP and low not in named and low not in _OURS and not low.startswith(_UNTRUSTED):
            passed.append((name, value))
    address = environ.get("REMOTE_ADDR", "")
    host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
    return [
        ("Host", host),
        *passed,
        *request.items(),
        ("X-Real-Ip", environ.get("HTTP_X_REAL_IP", address)),
        ("X-Forwarded-For", environ.get("HTTP_X_FORWARDED_FOR", address)),
        ("X-Forwarded-Proto", environ.get("HTTP_X_FORWARDED_PROTO", environ["wsgi.url_scheme"])),
        ("X-Forwarded-Host", environ.get("HTTP_X_FORWARDED_HOST", host)),
    ]


def from_service(message: HTTPMessage) -> Headers:
    """Return what goes back to the caller, repeated headers as they are. Raises Broken for what is
    no header.
    """
    if [defect for defect in message.defects if not isinstance(defect, _NO_DEFECT)] or (
        not message.is_multipart() and message.get_payload()
    ):
        raise Broken("the header of the answer could not be read")
    named = _named(",".join(message.get_all("Connection", [])))
    passed: Headers = []
    for name, value in message.items():
        low = name.lower()
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise Broken(f"the header {name[:40]!r} of the answer is malformed")
        if low not in _HOP and low not in named and low not in _NOT_BACK and not low.startswith(_ORDERS):
            passed.append((name, value))
    return passed


def length(message: HTTPMessage) -> int | None:
    """Return the length that the answer declares, None where it declares none. Raises Broken if it
    makes no sense.
    """
    lengths, codings = message.get_all("Content-Length", []), message.get_all("Transfer-Encoding", [])
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"] or lengths:
            raise Broken("the length of the answer is ambiguous")
        return None
    if not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Broken("the length of the answer is ambiguous")
    return int(lengths[0])


def _named(connection: str) -> Iterable[str]:
    return {name.strip().lower() for name in connection.split(",")}
