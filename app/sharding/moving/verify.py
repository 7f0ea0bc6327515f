"""Compare every row of some buckets on two shards, without carrying the rows from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from sharding.moving.copy import BUCKET, Table, of_buckets
from sharding.moving.session import Connection

type Fingerprints = dict[tuple[str, int], tuple[int, str]]


def fingerprints(connection: Connection, tables: Sequence[Table], buckets: Sequence[int]) -> Fingerprints:
    """Return by table and bucket the number of rows, and the sum of their hashes, which no order changes."""
    found: Fingerprints = {}
    for table in tables:
        rows = connection.execute(
            sql.SQL(
                "SELECT {bucket}, count(*), sum(hashtextextended(ROW({fields})::text, 0)::numeric)::text"
                " FROM {table} WHERE {where} GROUP BY 1"
            ).format(bucket=BUCKET, fields=table.fields, table=table.quoted, where=of_buckets(buckets))
        )
        found |= {(table.name, bucket): (count, total) for bucket, count, total in rows}
    return found


def differing(
    source: Connection, target: Connection, tables: Sequence[Table], buckets: Sequence[int]
) -> list[tuple[str, int]]:
    """Return the tables and buckets that are not the same on both shards."""
    with ThreadPoolExecutor(1) as pool:  # both at once: writers wait meanwhile
        there_later = pool.submit(fingerprints, target, tables, buckets)
        here = fingerprints(source, tables, buckets)
        there = there_later.result()
    return sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
