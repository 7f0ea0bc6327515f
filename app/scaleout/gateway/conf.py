"""The settings of this package: the dictionary `GATEWAY`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from scaleout.base.conf import CacheAlias, Conf, Dotted, between, origin


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


def _path(value: str) -> str | None:
    return None if not value or value.startswith("/") else f"must be a path such as /health/, not {value!r}"


@dataclass(frozen=True)
class Settings:
    """The keys of `GATEWAY`, in small letters."""

    services: Mapping[str, Annotated[str, origin, _filled]]
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

    drain_marker: str | None = None
    """The path of a file that exists while this replica drains. DrainingMiddleware needs it."""


conf = Conf("GATEWAY", Settings)
