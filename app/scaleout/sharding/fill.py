"""The first fill of the map and of the shards' buckets. Run again it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connections

from scaleout.sharding.ids import BUCKETS, FIRST, reached
from scaleout.sharding.models import BucketMap, ShardIdentity, ShardMismatchError


def fill_map(alias: str, shards: Mapping[int, str]) -> bool:
    """Spread the buckets evenly over `shards` if the map in `alias` is empty; return whether it
    was.

    From then on the table decides: a new shard holds nothing until buckets are moved to it.
    """
    numbers = sorted(shards)
    if BucketMap.objects.using(alias).exists():
        return False
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO sharding_bucketmap (bucket, shard, version)"
            " SELECT bucket, (%s::smallint[])[bucket %% %s + 1], 0 FROM generate_series(0, %s) AS bucket",
            [numbers, len(numbers), BUCKETS - 1],
        )
    return True


def fill_shard(alias: str, buckets: list[int]) -> bool:
    """Insert the rows of `buckets` into the shard `alias` if it has none at all; return whether it
    had none.

    Single missing rows are not inserted: such a bucket is moving, or is absent on purpose.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO sharding_bucket (bucket, state, last, base) SELECT bucket, 'active', 0, %s"
            " FROM unnest(%s::smallint[]) AS bucket WHERE NOT EXISTS (SELECT FROM sharding_bucket)",
            [FIRST, buckets],
        )
        return bool(cursor.rowcount)


def fill(alias: str, shards: Mapping[int, str]) -> None:
    """Name each shard and fill the map in `alias`, then the shards by the map.

    Raises ShardMismatchError if a database is another shard than expected, or has lost its buckets.
    """
    held = _held(alias)
    for number, shard in shards.items():
        # A shard gets its name before the map refers to it.
        if held.get(number) and not ShardIdentity.objects.using(shard).exists():
            raise ShardMismatchError(
                f"the database behind {shard} is new, but the map says that it holds {len(held[number])} buckets:"
                " its volume is lost or mixed up. Restore it from a backup"
            )
        ShardIdentity.claim(shard)
    if fill_map(alias, shards):
        held = _held(alias)
    for number, shard in shards.items():
        fill_shard(shard, held.get(number, []))
    _complete(list(shards.values()))


def _complete(shards: list[str]) -> None:
    """Give a base to the buckets that a mover of an older release, which has no bases, made
    active.
    """
    for shard in shards:
        with connections[shard].cursor() as cursor:
            cursor.execute("SELECT FROM sharding_bucket WHERE base IS NULL AND state = 'active' LIMIT 1")
            if cursor.fetchone() is not None:
                cursor.execute(
                    "UPDATE sharding_bucket SET base = %s - (SELECT last_value FROM sharding_ids) + 1"
                    " WHERE base IS NULL AND state = 'active'",
                    [reached(shards)],
                )


def _held(alias: str) -> dict[int, list[int]]:
    """Return the buckets of each shard by the map."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT shard, array_agg(bucket ORDER BY bucket) FROM sharding_bucketmap GROUP BY shard")
        return dict(cursor.fetchall())
