"""The buckets to move so that the shards have equal loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connections

from scaleout.sharding.ids import BUCKETS, SEQUENCE_BITS


@dataclass(frozen=True)
class Wanted:
    """Buckets to move from one shard to another."""

    source: int
    target: int
    buckets: list[int] = field(default_factory=list)


def holders(context: str) -> dict[int, int]:
    """Return the shard of each bucket by the map."""
    with connections[context].cursor() as cursor:
        cursor.execute("SELECT bucket, shard FROM sharding_bucketmap ORDER BY bucket")
        return dict(cursor.fetchall())


def rows_of(shards: Mapping[int, str], held: Mapping[int, int], tables: Sequence[str]) -> dict[int, int]:
    """Return the number of rows of each bucket on its shard. Reads every table once."""
    rows = dict.fromkeys(held, 0)
    for number, alias in shards.items():
        with connections[alias].cursor() as cursor:
            for table in tables:
                name = connections[alias].ops.quote_name(table)
                cursor.execute(
                    f"SELECT (id >> {SEQUENCE_BITS}) & {BUCKETS - 1}, count(*) FROM {name} GROUP BY 1"  # noqa: S608 - a model's table
                )
                for bucket, count in cursor.fetchall():
                    if held.get(bucket) == number:  # an old copy elsewhere does not count
                        rows[bucket] += count
    return rows


def even(
    shards: Sequence[int], held: Mapping[int, int], weights: Mapping[int, int], without: int | None = None
) -> list[Wanted]:
    """Return the moves that balance the shards, with as few buckets as possible.

    `without`: a shard to empty. Each step moves the heaviest bucket that fits from the fullest
    shard to the emptiest.
    """
    carried = {shard: 0 for shard in shards if shard != without}
    having: dict[int, list[int]] = {shard: [] for shard in shards}
    for bucket, shard in held.items():
        having[shard].append(bucket)
        if shard != without:
            carried[shard] += weights[bucket]
    arrived = dict.fromkeys(shards, 0)
    moves: dict[tuple[int, int], list[int]] = {}

    def go(bucket: int, source: int, target: int) -> None:
        having[source].remove(bucket)  # each bucket moves once, not on to a third shard
        carried[target] += weights[bucket]
        arrived[target] += 1
        moves.setdefault((source, target), []).append(bucket)

    if without is not None:
        for bucket in sorted(having[without], key=lambda one: -weights[one]):
            go(bucket, without, min(carried, key=lambda one: (carried[one], arrived[one])))
    while True:
        source, target = max(carried, key=lambda one: carried[one]), min(carried, key=lambda one: carried[one])
        gap = carried[source] - carried[target]
        fitting = [bucket for bucket in having[source] if 0 < weights[bucket] <= gap // 2]
        if not fitting:
            break
        bucket = max(fitting, key=lambda one: (weights[one], -one))
        carried[source] -= weights[bucket]
        go(bucket, source, target)
    return [Wanted(source, target, sorted(buckets)) for (source, target), buckets in sorted(moves.items())]


def parse(text: str) -> list[int]:
    """Return the buckets that a text such as `0-99,200` names. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        begin = int(first)
        end = int(last) if dash else begin
        if not 0 <= begin <= end < BUCKETS:
            raise ValueError(part)
        found.update(range(begin, end + 1))
    return sorted(found)


def grouped(held: Mapping[int, int], buckets: Sequence[int], target: int) -> list[Wanted]:
    """Return the moves that bring `buckets` to `target`, one for each shard that holds some of
    them.
    """
    sources = sorted({held[bucket] for bucket in buckets} - {target})
    return [Wanted(source, target, [bucket for bucket in buckets if held[bucket] == source]) for source in sources]
