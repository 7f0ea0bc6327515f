"""The outbox of a shard: the events of a move's buckets must be gone before the buckets change
sides.

An event that is left would be overtaken by a later one of the same aggregate, which the target
writes and sends. Events without a bucket may belong to any bucket. Only the events that existed
when the buckets were blocked count: a writer locks its bucket until its commit, so its events exist
before the bucket is blocked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from scaleout.sharding.moving.session import Connection
from scaleout.sharding.moving.state import short_ranges


@dataclass(frozen=True)
class Left:
    """The number of events of each bucket (None: bucket unknown), and how many of all are
    parked.
    """

    by_bucket: dict[int | None, int]
    parked: int

    @property
    def total(self) -> int:
        """The number of events."""
        return sum(self.by_bucket.values())

    def __str__(self) -> str:
        """Return the text for a message."""
        known = [bucket for bucket in self.by_bucket if bucket is not None]
        of = [f"of the buckets {short_ranges(known)}"] if known else []
        if unknown := self.by_bucket.get(None):
            of.append(f"{unknown} of no known bucket")
        return f"{self.total - self.parked} on their way, {self.parked} parked ({'; '.join(of)})"


class Outbox:
    """The table `name` in a shard, with the columns `id`, `bucket` and `parked_at`."""

    def __init__(self, name: str) -> None:
        self._table = sql.Identifier(name)

    def last(self, shard: Connection) -> int:
        """Return the greatest id."""
        row = shard.execute(sql.SQL("SELECT coalesce(max(id), 0) FROM {}").format(self._table)).fetchone()
        assert row is not None  # noqa: S101 - an aggregate returns a row
        return int(row[0])

    def left(self, shard: Connection, buckets: Sequence[int], last: int) -> Left:
        """Return the events of `buckets`, or of an unknown bucket, with ids up to `last`."""
        counts = sql.SQL(
            "SELECT bucket, count(*), count(parked_at) FROM {table} WHERE bucket = ANY(%(buckets)s) AND id <= %(last)s"
            " GROUP BY bucket UNION ALL "
            "SELECT bucket, count(*), count(parked_at) FROM {table} WHERE bucket IS NULL AND id <= %(last)s"
            " GROUP BY bucket"
        ).format(table=self._table)
        with shard.transaction():
            # The planner's statistics of an outbox are soon wrong: it fills and empties within
            # minutes.
            shard.execute("SET LOCAL enable_seqscan = off")
            rows = shard.execute(counts, {"buckets": list(buckets), "last": last}).fetchall()
        return Left({bucket: count for bucket, count, _ in rows}, sum(parked for _, _, parked in rows))
