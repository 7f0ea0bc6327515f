"""The settings of this package: the dictionary `SHARDING`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from django.apps import apps

from scaleout.base.conf import Conf, DatabaseAlias, between, once

COLUMNS = {"id", "bucket", "parked_at"}  # of an outbox: what a move reads
Shards = Annotated[Mapping[Annotated[int, between(0, 2**15 - 1)], DatabaseAlias], once]  # a smallint in the map


@dataclass(frozen=True)
class Settings:
    """The keys of `SHARDING`, in small letters."""

    shards: Shards = field(default_factory=dict)
    """By number, the alias of each shard of this service. The map is in `default`."""

    groups: Mapping[DatabaseAlias, Shards] = field(default_factory=dict)
    """For the command `reshard`: by the alias of the database with the map, its shards."""

    outbox: str | None = None
    """The model of the outbox that each shard has, such as "events.Outbox". A move waits until it
    has none of the bucket's events."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong with the outbox."""
        if self.outbox is None:
            return
        try:
            columns = {one.column for one in apps.get_model(self.outbox)._meta.local_fields}
        except (LookupError, ValueError):
            columns = set()
        if missing := sorted(COLUMNS - columns):
            yield f"SHARDING['OUTBOX'] is {self.outbox!r}, which is no model with the columns {', '.join(missing)}."


conf = Conf("SHARDING", Settings)
