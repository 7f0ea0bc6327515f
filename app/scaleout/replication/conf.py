"""The settings of this package: the dictionary `REPLICATION`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from django.apps import apps

from scaleout.base.conf import Conf, DatabaseAlias, Dotted, between, redis_cache


def _application(value: str) -> str | None:
    return None if value in apps.app_configs else f"is {value!r}, which is the label of no application"


@dataclass(frozen=True)
class Settings:
    """The keys of `REPLICATION`, in small letters."""

    replicas: Collection[DatabaseAlias]
    """The aliases of the replicas of `default`."""

    weights: Mapping[str, Annotated[float, between(0)]] = field(default_factory=dict)
    """By alias, the share of a replica in the reads; 1 by default. A replica of weight 0 gets only
    the reads that name it."""

    primary_read_apps: Collection[Annotated[str, _application]] = ()
    """The labels of the applications whose reads all go to the primary."""

    guard: bool = False
    """Whether a read of the primary that no code asked for is an error: for development."""

    writers: Annotated[int, between(1)] = 3
    """How many threads of a process may wait for a slow commit: one fewer than it has, so that one
    is left for reads."""

    positions: Annotated[str, redis_cache] | None = None
    """A cache of django-redis that keeps the position of each user's last write, for clients that
    send no `X-Read-After`."""

    user: Dotted | None = None
    """A function from a request to its user as text, or None. `positions` needs it."""

    expose_topology: bool = False
    """Whether answers have `X-Database` and `X-Database-Server`."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong between two keys."""
        if "default" in self.replicas:
            yield "REPLICATION['REPLICAS'] names 'default', which is the primary."
        for alias in self.weights.keys() - self.replicas:
            yield f"REPLICATION['WEIGHTS'] names {alias!r}, which REPLICATION['REPLICAS'] does not."
        if self.positions and not self.user:
            yield "REPLICATION['POSITIONS'] needs REPLICATION['USER']."


conf = Conf("REPLICATION", Settings)
