"""Calls from one service to another: signed, in time, and never repeated unless it is safe.

A call has one deadline for all of it. It goes over a connection that its thread keeps open; where that one has been
closed by a replica that has gone, the call is made once more over a new one, for it only reads.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import replication
import requests
from identity import tokens
from observability import trace
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from config import services

CONNECT = 0.2  # seconds; the other side is on the same network
LONGEST = 1_048_576  # bytes of an answer
_CHUNK = 65536

_threads = threading.local()


class Unavailable(Exception):  # noqa: N818 - said of the service
    """The service did not give a usable answer in time."""


@dataclass(frozen=True)
class Answer:
    """An answer below 500, and its JSON."""

    status: int
    body: Any


def get(service: str, path: str, *, seconds: float) -> Answer:
    """Return the answer to `GET path`. Raises Unavailable after `seconds`, or twice that if it goes silent within."""
    until = time.monotonic() + seconds
    try:
        try:
            return _get(service, path, until)
        except requests.Timeout:
            raise
        except requests.ConnectionError:  # refused, reset, or closed meanwhile: there may be another replica
            return _get(service, path, until)
    except (requests.RequestException, HTTPError, ValueError) as error:
        raise Unavailable(f"{service}: {type(error).__name__}: {error}") from error


def _get(service: str, path: str, until: float) -> Answer:
    headers = {
        "Authorization": f"Bearer {tokens.for_service(service)}",
        "Accept-Encoding": "identity",
        **replication.headers(),  # what the caller has written is seen there too
        **trace.headers(),
    }
    url = services.address(service) + path
    with _session().get(
        url, headers=headers, timeout=(min(CONNECT, _left(until)), _left(until)), stream=True, allow_redirects=False
    ) as response:
        if response.status_code >= 500 or response.is_redirect:
            raise requests.HTTPError(f"status {response.status_code}")
        body = bytearray()
        # read1 returns what is there; iter_content would wait for a whole chunk, however slowly it comes.
        while part := response.raw.read1(_CHUNK):
            body += part
            _left(until)
            if len(body) > LONGEST:
                raise ValueError(f"an answer of more than {LONGEST} bytes")
        return Answer(response.status_code, json.loads(body))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise requests.Timeout("no time is left")
    return left


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_threads, "session", None)
    if session is None:
        session = _threads.session = requests.Session()
        session.trust_env = False  # no proxy of the environment between two services
        session.mount("http://", HTTPAdapter(pool_connections=len(services.PORTS), pool_maxsize=1, max_retries=0))
    return session
