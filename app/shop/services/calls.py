"""Calls from one service to another: signed, in time, and through what protects the gateway's
callers as well.

So a service that hangs takes only some of the threads of those that call it, and after a few
failures none; a replica that fails is avoided; and the time that the caller's caller still waits is
the most that is waited here.
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

ATTEMPT = 0.25  # seconds of one try, where there is another replica
PROBE = 0.1  # seconds for the answer to a probe, there


class OnBehalf(AuthBase):
    """Sign each request for the service that it goes to, and say on whose behalf it is sent."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request with its headers."""
        service = str(urlsplit(str(request.url)).hostname)
        request.headers.update(
            {
                "Authorization": f"Bearer {tokens.for_service(service)}",
                **replication.headers(),  # what the caller has written is seen there too
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
        concurrency=settings.GATEWAY_CONCURRENCY,
        waiting=settings.GATEWAY_WAITING,
        probe=settings.GATEWAY_PROBE,
        probe_seconds=PROBE,
    )
    made = ServiceSession(Service.at(name, url, policy) for name, url in addresses)
    made.auth = OnBehalf()
    return made
