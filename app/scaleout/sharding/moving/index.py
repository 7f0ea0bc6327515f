"""An index by bucket during moves: without it each bucket would cost a scan of the whole table."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from scaleout.sharding.moving.copy import BUCKET, Table
from scaleout.sharding.moving.session import Connection


def _name(table: Table) -> str:
    return f"{table.name}_by_bucket"


def make(connection: Connection, tables: Iterable[Table]) -> None:
    """Create the indexes without blocking writers. An index whose creation was interrupted is
    created again.
    """
    for table in tables:
        name = sql.Identifier(_name(table))
        valid = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(%s))", [_name(table)]
        ).fetchone()
        if valid == (True,):
            continue
        if valid:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
        connection.execute(sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} ({})").format(name, table.quoted, BUCKET))
        connection.execute(sql.SQL("ANALYZE {}").format(table.quoted))


def drop(connection: Connection, tables: Iterable[Table]) -> None:
    """Drop the indexes."""
    for table in tables:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(_name(table))))
