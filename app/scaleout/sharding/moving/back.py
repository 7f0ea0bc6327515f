"""Take away what a move has made: at its target when it is aborted, at its source when it is over
for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from scaleout.sharding.moving.copy import Table, remove, remove_in_batches
from scaleout.sharding.moving.locks import change
from scaleout.sharding.moving.session import Connection, as_mover


class _OtherStateError(Exception):
    """The bucket is not what it was to be deleted as."""


def release(source: Connection, buckets: Sequence[int]) -> None:
    """Let the source of an aborted move be as it was: it takes writes and notes none."""
    for bucket in buckets:
        change(source, bucket, "state = 'active', logged = false", "active", "blocked")
    source.execute("DELETE FROM sharding_change WHERE bucket = ANY(%s)", [list(buckets)])


def discard(shard: Connection, tables: Sequence[Table], bucket: int, state: str) -> None:
    """Delete a bucket and its rows, if it is in `state`: `incoming` what was half copied, `moved`
    what was left.

    The rows first, in batches: where this is broken off, the bucket is still there and the next run
    deletes the rest.
    """

    def hold() -> None:
        if not shard.execute(
            "SELECT FROM sharding_bucket WHERE bucket = %s AND state = %s FOR UPDATE", [bucket, state]
        ).rowcount:
            raise _OtherStateError

    with suppress(_OtherStateError):
        remove_in_batches(shard, tables, bucket, hold)
        with as_mover(shard):
            hold()
            remove(shard, tables, [bucket])
            shard.execute("DELETE FROM sharding_change WHERE bucket = %s", [bucket])
            shard.execute("DELETE FROM sharding_bucket WHERE bucket = %s", [bucket])
