"""The settings of this package: the dictionary `SHEDDING`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from scaleout.base.conf import Conf, Name, between


def _kind(value: Mapping[str, Any]) -> str | None:
    """Return what is wrong with one of the kinds."""
    if value.keys() != {"paths", "seconds"}:
        return "must have the keys paths and seconds"
    paths, seconds = value["paths"], value["seconds"]
    if (
        not isinstance(paths, list | tuple)
        or not paths
        or not all(isinstance(one, str) and one.startswith("/") for one in paths)
    ):
        return "must have a list of prefixes, each with / first, as its paths"
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 10**9:
        return f"must have a number above 0, at most {10**9}, as its seconds, not {seconds!r}"
    return None


@dataclass(frozen=True)
class Settings:
    """The keys of `SHEDDING`, in small letters."""

    try_seconds: Annotated[float, between(0.001)]
    """How long the load balancer waits for an answer before it asks another replica."""

    kinds: Mapping[Name, Annotated[Mapping[str, Any], _kind]]
    """By name `{"paths": [prefixes], "seconds": most}`: how long a request may wait. The first kind
    counts whose paths match."""


conf = Conf("SHEDDING", Settings)
