"""The first fill of the map and of the shards' buckets. Run again it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connections

from scaleout.sharding.ids import BUCKETS, FIRST, reached
from scaleout.sharding.models import BucketMap, ShardIdentity, ShardMismatchError


def fill_map(alias: str, shards: Mapping[int, str]) -> bool:
    """Spread the buckets evenly over `shards` if the map in `alias` is empty; return whether it
    was.

    From then on the table is the truth: a shard that is added later holds nothing until buckets are
    moved to it.
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
    """Make the rows of `buckets` in the shard `alias` if it has none at all; return whether it had
    none.

    Not one by one where rows are missing: a bucket that is on its way has a row already, or is not
    here on purpose.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO sharding_bucket (bucket, state, last, base) SELECT bucket, 'active', 0, %s"
            " FROM unnest(%s::smallint[]) AS bucket WHERE NOT EXISTS (SELECT FROM sharding_bucket)",
            [FIRST, buckets],
        )
        return bool(cursor.rowcount)


def fill(alias: str, shards: Mapping[int, str]) -> None:
    """Name each shard and fill the map in `alias`, then the shards, as the map says.

    Raises ShardMismatchError if a database is not the shard that it was taken for, or has lost what
    it held.
    """
    held = _held(alias)
    for number, shard in shards.items():
        # A shard has its name before the map says anything of it.
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
    """Give a base to the buckets that a mover of an older release, which knows none, has made
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
    """Return the buckets of each shard, as the map says."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT shard, array_agg(bucket ORDER BY bucket) FROM sharding_bucketmap GROUP BY shard")
        return dict(cursor.fetchall())
