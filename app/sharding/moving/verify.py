"""Compare every row of some buckets on two shards, without carrying the rows from one to the other.

Most of it while users write: the rows that the source's log names are left out on both sides, and all others must be
the same, for whoever changes one after the source's snapshot is in the log. So what is left for the moment in which
nobody may write are the rows that were logged meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from sharding.moving.copy import BUCKET, Table, logged, of_buckets
from sharding.moving.session import Connection, snapshot

type Rows = Mapping[str, Iterable[int]]  # ids by table
type Fingerprints = dict[tuple[str, int], tuple[int, str]]


def _fingerprints(connection: Connection, tables: Sequence[Table], which: sql.Composable, rows: Rows) -> Fingerprints:
    """Return by table and bucket the number of rows, and the sum of their hashes, which no order changes."""
    found: Fingerprints = {}
    for table in tables:
        answer = connection.execute(
            sql.SQL(
                "SELECT {bucket}, count(*), sum(hashtextextended(ROW({fields})::text, 0)::numeric)::text"
                " FROM {table} WHERE {which} GROUP BY 1"
            ).format(bucket=BUCKET, fields=table.fields, table=table.quoted, which=which),
            [sorted(rows.get(table.name, ()))],
        )
        found |= {(table.name, bucket): (count, total) for bucket, count, total in answer}
    return found


def _differing(
    source: Connection, target: Connection, tables: Sequence[Table], which: sql.Composable, rows: Rows
) -> list[tuple[str, int]]:
    with ThreadPoolExecutor(1) as pool:  # both at once
        there_later = pool.submit(_fingerprints, target, tables, which, rows)
        here = _fingerprints(source, tables, which, rows)
        there = there_later.result()
    return sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))


def differing(
    source: Connection, target: Connection, tables: Sequence[Table], buckets: Sequence[int]
) -> list[tuple[str, int]]:
    """Return the tables and buckets that are not the same on both shards, but for the rows that the log names."""
    which = sql.SQL("{} AND id <> ALL(%s)").format(of_buckets(buckets))
    with snapshot(source):
        return _differing(source, target, tables, which, logged(source, buckets))


def differing_rows(
    source: Connection, target: Connection, tables: Sequence[Table], rows: Rows
) -> list[tuple[str, int]]:
    """Return the tables and buckets of those of `rows` that are not the same on both shards."""
    return _differing(source, target, tables, sql.SQL("id = ANY(%s)"), rows)
