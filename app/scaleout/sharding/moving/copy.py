"""Copy the rows of a bucket, and afterwards the rows that were written during the copy.

A bucket is copied in one snapshot: so the copy keeps foreign keys and unique constraints under any
writes. The log names the rows to copy again, not their changes: each round copies their present
state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import batched

from psycopg import sql

from scaleout.sharding.ids import BUCKETS, SEQUENCE_BITS
from scaleout.sharding.moving.session import Connection, MoveError, as_mover, snapshot

BATCH = 5000  # rows that one statement deletes: it ends within seconds
BUCKET = sql.SQL(f"((id >> {SEQUENCE_BITS}) & {BUCKETS - 1})")


@dataclass(frozen=True)
class Table:
    """A sharded table and its columns."""

    name: str
    columns: tuple[str, ...]

    @property
    def quoted(self) -> sql.Identifier:
        """The name as SQL."""
        return sql.Identifier(self.name)

    @property
    def fields(self) -> sql.Composed:
        """The columns as SQL."""
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))


def _columns(connection: Connection, name: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        " ORDER BY attnum",
        [name],
    )
    return dict(rows.fetchall())


def _refuse_acting_keys(target: Connection, names: Sequence[str]) -> None:
    """Raise MoveError for a foreign key that deletes or changes rows by itself: it would change
    copies too.
    """
    acting = target.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint"
        " WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')"
        " AND conrelid = ANY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)",
        [names],
    ).fetchone()
    if acting is not None:
        raise MoveError(
            f"the foreign key {acting[1]} of {acting[0]} has an ON DELETE of its own: such a table cannot be moved"
        )


def find_tables(source: Connection, target: Connection, names: Iterable[str]) -> list[Table]:
    """Return the tables `names`. Raises MoveError unless both shards have them with the same
    columns.
    """
    found = []
    names = list(names)
    _refuse_acting_keys(target, names)
    for name in names:
        here, there = _columns(source, name), _columns(target, name)
        if not here or here != there:
            raise MoveError(f"the table {name} is not the same on both shards: run the command prepare")
        found.append(Table(name, tuple(here)))
    return found


def of_buckets(buckets: Iterable[int]) -> sql.Composed:
    """Return the condition that a row is in one of `buckets`, in the form of the index."""
    return sql.SQL("{} = ANY({}::bigint[])").format(BUCKET, sql.Literal(sorted(buckets)))


def _stream(source: Connection, target: Connection, table: Table, where: sql.Composable) -> None:
    take = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT").format(table.fields, table.quoted, where)
    give = sql.SQL("COPY {} ({}) FROM STDIN").format(table.quoted, table.fields)
    with source.cursor().copy(take) as rows, target.cursor().copy(give) as into:
        for data in rows:
            into.write(data)


def _hold(target: Connection, buckets: Sequence[int]) -> None:
    """Lock the state of the buckets until the transaction ends. Raises MoveError unless they are
    incoming.
    """
    found = target.execute(
        "SELECT bucket FROM sharding_bucket WHERE bucket = ANY(%s) AND state = 'incoming' FOR KEY SHARE",
        [list(buckets)],
    ).fetchall()
    if len(found) != len(buckets):
        raise MoveError("the target no longer expects these buckets: see `reshard status`")


def remove(connection: Connection, tables: Sequence[Table], buckets: Sequence[int]) -> None:
    """Delete the rows of `buckets`, in the caller's transaction."""
    for table in reversed(tables):
        connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table.quoted, of_buckets(buckets)))


def remove_in_batches(
    connection: Connection, tables: Sequence[Table], bucket: int, holds: Callable[[], object]
) -> None:
    """Delete the rows of `bucket`, BATCH a transaction. `holds` begins each: it locks the bucket,
    or raises.
    """
    for table in reversed(tables):
        which = sql.SQL("SELECT id FROM {} WHERE {}").format(table.quoted, of_buckets([bucket]))
        ids = [id_ for (id_,) in connection.execute(which)]
        for some in batched(ids, BATCH, strict=False):
            with as_mover(connection):
                holds()
                _remove_rows(connection, table, some)


def _remove_rows(connection: Connection, table: Table, ids: Sequence[int]) -> None:
    connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(table.quoted), [list(ids)])


def copy_bucket(source: Connection, target: Connection, tables: Sequence[Table], bucket: int) -> None:
    """Make the rows of `bucket` on the target those of one snapshot of the source.

    Existing rows on the target are replaced. The source's snapshot is open only while its rows are
    read: a server ends a transaction that is idle for a minute.
    """
    remove_in_batches(target, tables, bucket, lambda: _hold(target, [bucket]))
    with as_mover(target):
        _hold(target, [bucket])
        remove(target, tables, [bucket])  # rows that a migration has just written
        with snapshot(source):
            for table in tables:
                _stream(source, target, table, of_buckets([bucket]))


def logged(source: Connection, buckets: Sequence[int]) -> dict[str, set[int]]:
    """Return the rows of `buckets` that the log names, by table."""
    found: dict[str, set[int]] = {}
    entries = source.execute("SELECT name, row FROM sharding_change WHERE bucket = ANY(%s)", [list(buckets)])
    for name, row in entries:
        found.setdefault(name, set()).add(row)
    return found


def catch_up(
    source: Connection, target: Connection, tables: Sequence[Table], buckets: Sequence[int]
) -> dict[str, set[int]]:
    """Copy the present state of the rows that the log names; return them, by table.

    All in one snapshot: values that two rows have exchanged (a unique value, say) arrive at once.
    """
    with ExitStack() as reading:
        reading.enter_context(snapshot(source))
        entries = source.execute("SELECT id FROM sharding_change WHERE bucket = ANY(%s)", [list(buckets)]).fetchall()
        if not entries:
            return {}
        rows = logged(source, buckets)
        with as_mover(target):
            _hold(target, buckets)
            for table in reversed(tables):
                for some in batched(sorted(rows.get(table.name, ())), BATCH, strict=False):
                    _remove_rows(target, table, some)
                    source.execute("SELECT")  # else its server ends the snapshot as idle
            for table in tables:
                changed = sql.SQL(
                    "id IN (SELECT row FROM sharding_change WHERE name = {} AND bucket = ANY({}::bigint[]))"
                ).format(sql.Literal(table.name), sql.Literal(sorted(buckets)))
                _stream(source, target, table, changed)
            reading.close()  # before the commit, which checks the foreign keys of all these rows
    # By their ids, not up to the last one: an entry with a smaller id may be committed later.
    for some in batched((id_ for (id_,) in entries), BATCH, strict=False):
        source.execute("DELETE FROM sharding_change WHERE id = ANY(%s)", [list(some)])
    return rows
