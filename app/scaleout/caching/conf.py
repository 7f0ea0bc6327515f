"""The settings of this package: the dictionary `CACHING`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated

from django.conf import settings

from scaleout.base.conf import Conf, Name, module_with

LOCAL = "local"  # the cache of the process, in CACHES
SOURCE = ("token", "newest", "at_least", "must_be_fresh")  # the functions of a source


@dataclass(frozen=True)
class Settings:
    """The keys of `CACHING`, in small letters."""

    source: Annotated[str, module_with(*SOURCE)] | None = None
    """A module with the functions of `scaleout.caching.source.Source`: for read replicas."""

    key: str = ""
    """The secret that seals values in Redis: SECRET_KEY by default."""

    pickles: bool = True
    """Whether Redis may hold values that are neither text nor JSON."""

    warmers: Collection[Name] | None = None
    """The names of the warmers that this service runs: all by default."""

    release: str = ""
    """An id of what values are rendered from. Each release has values of its own."""

    expose_topology: bool = False
    """Whether answers have `X-Cache`."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong with the caches."""
        if LOCAL not in settings.CACHES:
            yield f"CACHING needs the cache {LOCAL!r}, which CACHES does not name."


conf = Conf("CACHING", Settings)
