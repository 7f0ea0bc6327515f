"""Compare every row of some buckets on two shards, without copying rows between them.

Most of it while users write: both sides leave out the rows that the source's log names, and all
others must be equal, because a later change is in the log. So only the logged rows are left for the
moment in which writes are blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from psycopg import sql

from scaleout.sharding.moving.copy import BUCKET, Table, logged, of_buckets
from scaleout.sharding.moving.session import Connection, snapshot

type Rows = Mapping[str, Iterable[int]]  # ids by table
type Fingerprints = dict[tuple[str, int], tuple[int, str]]


def _fingerprints(connection: Connection, tables: Sequence[Table], which: sql.Composable, rows: Rows) -> Fingerprints:
    """Return by table and bucket the number of rows and the sum of their hashes, which needs no
    order.
    """
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


def _differing(here: Callable[[], Fingerprints], there: Callable[[], Fingerprints]) -> list[tuple[str, int]]:
    with ThreadPoolExecutor(1) as pool:  # both at once
        later = pool.submit(there)
        mine, theirs = here(), later.result()
    return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))


def differing(
    source: Connection, target: Connection, tables: Sequence[Table], buckets: Sequence[int]
) -> list[tuple[str, int]]:
    """Return the tables and buckets that differ between the shards, except for the logged rows."""
    which = sql.SQL("{} AND id <> ALL(%s)").format(of_buckets(buckets))
    with ExitStack() as reading:
        reading.enter_context(snapshot(source))
        rows = logged(source, buckets)

        def here() -> Fingerprints:
            with reading:  # keeps the source's snapshot from being ended as idle while the target is slower
                return _fingerprints(source, tables, which, rows)

        return _differing(here, lambda: _fingerprints(target, tables, which, rows))


def differing_rows(
    source: Connection, target: Connection, tables: Sequence[Table], rows: Rows
) -> list[tuple[str, int]]:
    """Return the tables and buckets of those of `rows` that differ between the shards."""
    which = sql.SQL("id = ANY(%s)")
    return _differing(
        lambda: _fingerprints(source, tables, which, rows), lambda: _fingerprints(target, tables, which, rows)
    )
