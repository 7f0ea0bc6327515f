"""Ids that say where their row lives: made without a central counter, never twice.

    id = seconds << 21 | bucket << 11 | sequence        32 + 10 + 11 bits = 53, so that JavaScript reads it exactly

Each bucket counts for itself, in the shard that holds it. `seconds << 11 | sequence` (the body of an id) is one number
that only grows. So a clock that goes back, a burst of more than 2048 ids a second (it borrows from the seconds to
come), and any number of processes are all harmless.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import connections

from sharding.errors import BucketMoved

SEQUENCE_BITS = 11
BUCKET_BITS = 10
SECONDS_BITS = 32
BUCKETS = 1 << BUCKET_BITS
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LARGEST = (1 << (SECONDS_BITS + BUCKET_BITS + SEQUENCE_BITS)) - 1

# The clock is the shard's, not the caller's: one clock for a bucket. An application server whose clock is a year ahead
# would use up a year of ids for everybody.
_TAKE = f"""
    UPDATE sharding_bucket
       SET last = greatest(
               last + %(count)s,
               ((extract(epoch FROM clock_timestamp())::bigint - {int(EPOCH.timestamp())}) << {SEQUENCE_BITS})
               + %(count)s - 1)
     WHERE bucket = %(bucket)s AND state = 'active'
    RETURNING last
"""  # noqa: S608 - made of our own numbers


def compose(body: int, bucket: int) -> int:
    """Return the id with the body `seconds << 11 | sequence` in `bucket`."""
    seconds, sequence = body >> SEQUENCE_BITS, body & ((1 << SEQUENCE_BITS) - 1)
    return (seconds << BUCKET_BITS | bucket) << SEQUENCE_BITS | sequence


def bucket_of(id_: int) -> int:
    """Return the bucket of an id. Any whole number has one, so that an id that nobody made is simply not found."""
    return id_ >> SEQUENCE_BITS & (BUCKETS - 1)


def body_of(id_: int) -> int:
    """Return the body of an id: what grows from id to id of one bucket."""
    return id_ >> (BUCKET_BITS + SEQUENCE_BITS) << SEQUENCE_BITS | id_ & ((1 << SEQUENCE_BITS) - 1)


def made_at(id_: int) -> datetime:
    """Return when an id was made, by the clock of its shard; later than that in a burst of more than 2048 a second."""
    return EPOCH + timedelta(seconds=id_ >> (BUCKET_BITS + SEQUENCE_BITS))


def take(alias: str, bucket: int, count: int = 1) -> list[int]:
    """Return `count` new ids of `bucket`, which the shard `alias` holds; in order.

    One statement. Inside a transaction others who want ids of this bucket wait for its end, and ids that are rolled
    back are given again: so tell nobody an id before it is committed. Raises BucketMoved if the bucket is not active
    there.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(_TAKE, {"bucket": bucket, "count": count})
        row = cursor.fetchone()
    if row is None:
        raise BucketMoved(f"bucket {bucket} gives no ids on {alias}: it is moving, or has moved")
    return [compose(body, bucket) for body in range(row[0] - count + 1, row[0] + 1)]


def take_for(alias: str, counts: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Return new ids by bucket for pairs of bucket and count. In the order of the buckets, so that two callers who
    want the same ones never wait for each other in a ring."""
    return {bucket: take(alias, bucket, count) for bucket, count in sorted(counts)}
