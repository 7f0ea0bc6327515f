"""Calls from one service to another, as a `requests.Session` on the gateway's client.

So a call has the deadline of the request that it serves. A bulkhead limits the threads that wait
for a hung service, a circuit breaker opens after a few failures, and failing replicas are avoided.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from requests import PreparedRequest
from requests.auth import AuthBase
from scaleout import replication
from scaleout.gateway import Policy, Service, ServiceSession
from scaleout.identity import tokens
from scaleout.observability import trace

from shop import services

ATTEMPT = 0.25  # seconds of one attempt, if another replica exists
PROBE = 0.1  # seconds for a probe, if another replica exists


class OnBehalf(AuthBase):
    """Add the headers of a call: the token, the caller's writes, and the trace."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request with its headers."""
        service = str(urlsplit(str(request.url)).hostname)
        request.headers.update(
            {
                "Authorization": f"Bearer {tokens.for_service(service)}",
                **replication.headers(),  # the called service reads the caller's own writes
                **trace.headers(),
            }
        )
        return request


def session() -> ServiceSession:
    """Return the session of this process, which its threads share:
    `session().get("http://orders/api/orders/", timeout=0.4)`.
    """
    return _session(tuple((name, services.address(name)) for name in services.APIS))


@cache
def _session(addresses: tuple[tuple[str, str], ...]) -> ServiceSession:
    policy = Policy(
        attempt=ATTEMPT,
        concurrency=settings.GATEWAY["CONCURRENCY"],
        waiting=settings.GATEWAY["WAITING"],
        probe=settings.GATEWAY["PROBE"],
        probe_seconds=PROBE,
    )
    made = ServiceSession(Service.at(name, url, policy) for name, url in addresses)
    made.auth = OnBehalf()
    return made
