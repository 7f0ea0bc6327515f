"""The headers of a request that may pass.

Some headers belong to one hop. Others name the caller: the gateway or the load balancer sets those,
and drops the caller's own, so that a service may trust them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaleout.gateway.client.headers import HOP, Headers, named

# Set for each request, below and by `GATEWAY["HEADERS"]`.
_OURS = frozenset({
    "host", "content-length", "x-deadline", "x-request-id", "traceparent", "tracestate", "x-real-ip",
})  # fmt: skip
# Headers that speak for a caller or rewrite an address. The load balancer's own are added again
# below.
_UNTRUSTED = (
    "forwarded", "x-forwarded", "x-original-", "x-rewrite-", "x-scheme", "proxy",
    "remote-", "x-remote-", "x-user", "x-auth", "x-identity", "x-internal", "x-service", "x-staff",
)  # fmt: skip


def to_service(environ: dict[str, Any], request: Mapping[str, str]) -> Headers:
    """Return the headers for the service: the caller's without those of the hop, and the gateway's
    own.

    `request`: the headers with the request's id and trace.
    """
    # The load balancer in front has a connection of its own; this header has the caller's
    # `Connection`.
    hop = named(f"{environ.get('HTTP_CONNECTION', '')},{environ.get('HTTP_X_CONNECTION_OPTIONS', '')}")
    passed: Headers = []
    for key, value in environ.items():
        if not key.startswith("HTTP_") and not (key == "CONTENT_TYPE" and value):
            continue
        name = key.removeprefix("HTTP_").replace("_", "-").title()
        low = name.lower()
        if low not in HOP and low not in hop and low not in _OURS and not low.startswith(_UNTRUSTED):
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
