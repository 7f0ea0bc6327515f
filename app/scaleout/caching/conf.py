"""The settings of this package: the dictionary `CACHING`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from scaleout.base.conf import Conf, Module


@dataclass(frozen=True)
class Settings:
    """The keys of `CACHING`, in small letters."""

    source: Module | None = None
    """A module with the functions of `scaleout.caching.source.Source`: for read replicas."""

    key: str = ""
    """The secret that seals values in Redis: SECRET_KEY by default."""

    pickles: bool = True
    """Whether Redis may hold values that are neither text nor JSON."""

    warmers: Collection[str] | None = None
    """The names of the warmers that this service runs: all by default."""

    release: str = ""
    """An id of what values are rendered from. Each release has values of its own."""

    expose_topology: bool = False
    """Whether answers have `X-Cache`."""


conf = Conf("CACHING", Settings)
