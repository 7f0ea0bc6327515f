"""Compare every row of some buckets on two shards, without carrying the rows from one to the other.

Most of it while users write: the rows that the source's log names are left out on both sides, and
all others must be the same, for whoever changes one after the source's snapshot is in the log. So
what is left for the moment in which nobody may write are the rows that were logged meanwhile.
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
    """Return by table and bucket the number of rows, and the sum of their hashes, which no order
    changes.
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
    """Return the tables and buckets that are not the same on both shards, but for the rows that the
    log names.
    """
    which = sql.SQL("{} AND id <> ALL(%s)").format(of_buckets(buckets))
    with ExitStack() as reading:
        reading.enter_context(snapshot(source))
        rows = logged(source, buckets)

        def here() -> Fingerprints:
            with reading:  # the target may take longer: the source's server would end the snapshot as idle
                return _fingerprints(source, tables, which, rows)

        return _differing(here, lambda: _fingerprints(target, tables, which, rows))


def differing_rows(
    source: Connection, target: Connection, tables: Sequence[Table], rows: Rows
) -> list[tuple[str, int]]:
    """Return the tables and buckets of those of `rows` that are not the same on both shards."""
    which = sql.SQL("id = ANY(%s)")
    return _differing(
        lambda: _fingerprints(source, tables, which, rows), lambda: _fingerprints(target, tables, which, rows)
    )
