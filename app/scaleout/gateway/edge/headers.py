"""Which headers of a request pass, and which do not.

Between two hops some headers belong to the hop. Others say who somebody is: those are set here or
by the load balancer in front, and a caller's own are dropped, so that a service may believe them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaleout.gateway.client.headers import HOP, Headers, named

# Set for each request, below and by `GATEWAY["HEADERS"]`.
_OURS = frozenset({
    "host", "content-length", "x-deadline", "x-request-id", "traceparent", "tracestate", "x-real-ip",
})  # fmt: skip
# What speaks for a caller or rewrites an address. The load balancer's own are added again below.
_UNTRUSTED = (
    "forwarded", "x-forwarded", "x-original-", "x-rewrite-", "x-scheme", "proxy",
    "remote-", "x-remote-", "x-user", "x-auth", "x-identity", "x-internal", "x-service", "x-staff",
)  # fmt: skip


def to_service(environ: dict[str, Any], request: Mapping[str, str]) -> Headers:
    """Return what goes to the service: the caller's headers without those of the hop, and the ones
    that are ours.

    `request`: the headers that say which request this is.
    """
    # The load balancer in front has a connection of its own; it says here what stood in the
    # caller's `Connection`.
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
