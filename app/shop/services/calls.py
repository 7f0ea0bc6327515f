"""Calls from one service to another: signed, in time, and through what protects the gateway's
callers as well.

So a service that hangs takes only some of the threads of those that call it, and after a few
failures none; a replica that fails is avoided; and the time that the caller's caller still waits is
the most that is waited here.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from scaleout import replication
from scaleout.gateway import deadline
from scaleout.gateway.client.errors import Cut, Failed, Refused
from scaleout.gateway.client.exchange import Request
from scaleout.gateway.client.service import Policy, Service
from scaleout.identity import tokens
from scaleout.observability import trace

from shop import services

LONGEST = 1_048_576  # bytes of an answer
ATTEMPT = 0.25  # seconds of one try, where there is another replica
PROBE = 0.1  # seconds for the answer to a probe, there


class Unavailable(Exception):  # noqa: N818 - said of the service
    """The service did not give a usable answer in time."""


@dataclass(frozen=True)
class Answer:
    """An answer below 500, and its JSON."""

    status: int
    body: Any


def get(service: str, path: str, *, seconds: float) -> Answer:
    """Return the answer to `GET path`. Raises Unavailable, after `seconds` at the latest."""
    until = time.monotonic() + deadline.left(seconds)
    headers = {
        "Host": service,
        "Authorization": f"Bearer {tokens.for_service(service)}",
        **replication.headers(),  # what the caller has written is seen there too
        **trace.headers(),
    }
    try:
        answer = _service(service, services.address(service)).call(Request.get(path, list(headers.items())), until)
        body = answer.read(until, LONGEST)
        if answer.status >= 500 or 300 <= answer.status < 400:
            raise ValueError(f"status {answer.status}")
        return Answer(answer.status, json.loads(body))
    except (Failed, Refused, Cut, ValueError, RecursionError) as error:
        raise Unavailable(f"{service}: {type(error).__name__}: {error}") from error


@cache
def _service(name: str, url: str) -> Service:
    """Return the service, as this process knows it."""
    policy = Policy(
        attempt=ATTEMPT,
        concurrency=settings.GATEWAY_CONCURRENCY,
        waiting=settings.GATEWAY_WAITING,
        probe=settings.GATEWAY_PROBE,
        probe_seconds=PROBE,
    )
    return Service.at(name, url, policy)
