"""The settings of this package: the dictionary `GATEWAY`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from scaleout.base.conf import CacheAlias, Conf, Dotted, Name, between, filled, origin, redis_cache


def _service(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9_-]+", value) else "must be a word of letters, digits, - and _"


def _plain(value: str) -> str | None:
    return "must begin with http://: the gateway speaks no TLS" if value.startswith("https:") else None


def _path(value: str) -> str | None:
    right = not value or re.fullmatch("/[!-~]*", value)
    return None if right else f"must be a path such as /health/, not {value!r}"


@dataclass(frozen=True)
class Settings:
    """The keys of `GATEWAY`, in small letters."""

    services: Annotated[Mapping[Annotated[str, _service], Annotated[str, filled, origin, _plain]], filled]
    """By the name of a service its URL: scheme, host and port. /api/<name>/ goes there."""

    concurrency: Annotated[int, between(1)] = 2
    """Calls of one process to one service at a time: half of its threads."""

    waiting: Annotated[int, between(0)] = 1
    """Calls that may wait for one of these. Together they are fewer than the threads."""

    probe: Annotated[str, _path] = ""
    """The path that a new connection is tried with. Empty: none."""

    rate: Annotated[int, between(0)] = 0
    """Requests of one caller in a minute. 0: any number."""

    caller: Dotted = "scaleout.gateway.by_address"
    """A function from a request to the text that stands for its caller."""

    cache: CacheAlias = "default"
    """A cache of django-redis with short time-outs, which counts the requests."""

    headers: Dotted | None = None
    """A function without arguments that returns headers for the service, such as a trace."""

    drain_marker: Name | None = None
    """The path of a file that exists while this replica drains. DrainingMiddleware needs it."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong between two keys."""
        if self.rate and (text := redis_cache(self.cache)):
            yield f"GATEWAY['RATE'] needs a cache of django-redis: GATEWAY['CACHE'] {text}."


conf = Conf("GATEWAY", Settings)
