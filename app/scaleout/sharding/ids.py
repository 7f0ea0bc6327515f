"""Ids that say where their row lives: unique for ever, also after a rollback, and made without a
central counter.

    id = high << 21 | bucket << 11 | low 32 + 10 + 11 bits = 53, so that JavaScript reads it exactly

`high << 11 | low` (the body of an id) is a number of the shard's sequence plus the bucket's `base`.
A sequence is not part of any transaction: a rollback gives nothing back, and no caller waits for
the transaction of another one. No clock is involved. When a bucket moves, its new shard gets a base
above all that the old shard gave (`moving/steps.py`), so the ids of a bucket only grow.

Releases before this one made the body from the seconds since 2026 and a counter; those are smaller
than FIRST.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import connections

from scaleout.sharding.errors import BucketMoved, MapIncomplete

SEQUENCE_BITS = 11
BUCKET_BITS = 10
HIGH_BITS = 32
BUCKETS = 1 << BUCKET_BITS
LARGEST = (1 << (HIGH_BITS + BUCKET_BITS + SEQUENCE_BITS)) - 1
# The first base: the upper half of the bodies. An older release, which counts seconds, reaches it
# in 2094.
FIRST = 1 << (HIGH_BITS + SEQUENCE_BITS - 1)

# The lock lasts until the end of the transaction, like a writer's: a move hands the base over after
# it. It also assigns a transaction id, so that the commit waits until the sequence is on disk and
# on the standbys.
_TAKE = """
    SELECT base + nextval('sharding_ids')
      FROM (SELECT base FROM sharding_bucket WHERE bucket = %s AND state = 'active' FOR KEY SHARE) AS held,
           generate_series(1, %s)
"""


def compose(body: int, bucket: int) -> int:
    """Return the id with the body `high << 11 | low` in `bucket`."""
    high, low = body >> SEQUENCE_BITS, body & ((1 << SEQUENCE_BITS) - 1)
    return (high << BUCKET_BITS | bucket) << SEQUENCE_BITS | low


def bucket_of(id_: int) -> int:
    """Return the bucket of an id. Any whole number has one, so an id that was never made is not
    found.
    """
    return id_ >> SEQUENCE_BITS & (BUCKETS - 1)


def body_of(id_: int) -> int:
    """Return the body of an id, which grows from id to id of one bucket."""
    return id_ >> (BUCKET_BITS + SEQUENCE_BITS) << SEQUENCE_BITS | id_ & ((1 << SEQUENCE_BITS) - 1)


def take(alias: str, bucket: int, count: int = 1) -> list[int]:
    """Return `count` new ids of `bucket`, which the shard `alias` holds, in order.

    One statement. Raises BucketMoved if the bucket is not active there.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(_TAKE, [bucket, count])
        bodies = [body for (body,) in cursor.fetchall()]
    if not bodies:
        raise BucketMoved(f"bucket {bucket} gives no ids on {alias}: it is moving, or has moved")
    if bodies[0] is None:
        raise MapIncomplete(f"bucket {bucket} has no base on {alias}: an older release moved it. Run prepare")
    return [compose(body, bucket) for body in bodies]


def take_for(alias: str, counts: Mapping[int, int]) -> dict[int, list[int]]:
    """Return new ids for each bucket, as many as `counts` says."""
    return {bucket: take(alias, bucket, count) for bucket, count in counts.items()}


def reached(aliases: Iterable[str]) -> int:
    """Return a body that is not below any id of the shards `aliases`."""
    most = FIRST
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT (SELECT coalesce(max(base), 0) FROM sharding_bucket) + last_value FROM sharding_ids")
            most = max(most, cursor.fetchone()[0])
    return most
