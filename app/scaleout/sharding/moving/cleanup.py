"""Remove what a move has made: at its target after an abort, at its source when it is over for
good.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from scaleout.sharding.moving.copy import Table, remove, remove_in_batches
from scaleout.sharding.moving.locks import change
from scaleout.sharding.moving.session import Connection, as_mover


class _OtherStateError(Exception):
    """The bucket is no longer in the state that may be deleted."""


def release(source: Connection, buckets: Sequence[int]) -> None:
    """Restore the source of an aborted move: it takes writes and logs none."""
    for bucket in buckets:
        change(source, bucket, "state = 'active', logged = false", "active", "blocked")
    source.execute("DELETE FROM sharding_change WHERE bucket = ANY(%s)", [list(buckets)])


def discard(shard: Connection, tables: Sequence[Table], bucket: int, state: str) -> None:
    """Delete a bucket and its rows if it is in `state`: `incoming`, half copied, or `moved`, an old
    copy.

    The rows first, in batches: if this is interrupted, the bucket still exists and the next run
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
