"""What an application may do on a connection of its own, tried directly and through PgBouncer in
transaction mode.

Between two statements of one client another one takes the server connection that it used, as it
happens under load.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from django.conf import settings

type Connection = psycopg.Connection[tuple[Any, ...]]
type Connect = Callable[..., Connection]

WORKS = "works"
LIMIT = 3  # seconds to connect


def connector(alias: str) -> Connect:
    """Return a function that connects as `alias` does, with other parameters on top."""
    known = settings.DATABASES[alias]

    def connect(**more: Any) -> Connection:
        parameters = {
            "host": known["HOST"],
            "port": known["PORT"],
            "dbname": known["NAME"],
            "user": known["USER"],
            "password": known["PASSWORD"],
            "connect_timeout": LIMIT,
            "sslmode": "disable",
            "client_encoding": "utf-8",
        }
        return psycopg.connect(**parameters | more, autocommit=True)

    return connect


@contextmanager
def between(connect: Connect) -> Iterator[Connection]:
    """Let another client hold a transaction, and with it the server connection that was free
    last.
    """
    with connect() as other, other.transaction():
        other.execute("SELECT 1")
        yield other


def _value(connection: Connection, sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return row[0] if row else None


def setting(connect: Connect) -> str:
    """SET for the session."""
    with connect() as mine:
        mine.execute("SET statement_timeout = '2777ms'")
        with between(connect) as other:
            if _value(other, "SHOW statement_timeout") == "2777ms":
                return "lost, and another client has it"
            return WORKS if _value(mine, "SHOW statement_timeout") == "2777ms" else "lost"


def local_setting(connect: Connect) -> str:
    """SET LOCAL in a transaction."""
    with connect() as mine, mine.transaction():
        mine.execute("SET LOCAL statement_timeout = '2778ms'")
        with between(connect):
            return WORKS if _value(mine, "SHOW statement_timeout") == "2778ms" else "lost"


def session_lock(connect: Connect) -> str:
    """An advisory lock of the session."""
    with connect() as mine:
        mine.execute("SELECT pg_advisory_lock(4711)")
        with between(connect):
            # Where it is not held, PostgreSQL only warns.
            return WORKS if _value(mine, "SELECT pg_advisory_unlock(4711)") else "cannot be unlocked: another session"


def transaction_lock(connect: Connect) -> str:
    """An advisory lock of a transaction."""
    with connect() as mine:
        with mine.transaction():
            mine.execute("SELECT pg_advisory_xact_lock(4712)")
            with between(connect) as other:
                if _value(other, "SELECT pg_try_advisory_xact_lock(4712)"):
                    return "not held"
        return WORKS


def protocol_prepared(connect: Connect) -> str:
    """A statement that the driver prepares."""
    with connect() as mine:
        mine.execute("SELECT %s::int", [1], prepare=True)
        with between(connect):
            mine.execute("SELECT %s::int", [2], prepare=True)
        return WORKS


def sql_prepared(connect: Connect) -> str:
    """PREPARE and EXECUTE in SQL."""
    with connect() as mine:
        mine.execute("PREPARE bench_statement AS SELECT 1")
        with between(connect):
            mine.execute("EXECUTE bench_statement")
        return WORKS


def listen(connect: Connect) -> str:
    """LISTEN and NOTIFY."""
    with connect() as mine:
        mine.execute("LISTEN bench")
        with between(connect), connect() as third:
            third.execute("NOTIFY bench")
            heard = list(mine.notifies(timeout=1, stop_after=1))
        return WORKS if heard else "nothing arrives"


def temporary_table(connect: Connect) -> str:
    """A temporary table."""
    with connect() as mine:
        mine.execute("CREATE TEMPORARY TABLE bench_temporary (id int)")
        with between(connect):
            mine.execute("SELECT * FROM bench_temporary")
        return WORKS


def held_cursor(connect: Connect) -> str:
    """A cursor outside a transaction, as `.iterator()` opens it."""
    with connect() as mine, mine.cursor("bench_cursor", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        with between(connect):
            return WORKS if len(cursor.fetchall()) == 10 else "rows are missing"


def options(connect: Connect) -> str:
    """A setting in the parameters of the connection, as the stack has one."""
    with connect(options="-c idle_in_transaction_session_timeout=3000") as mine:
        return WORKS if _value(mine, "SHOW idle_in_transaction_session_timeout") == "3s" else "ignored"


def roles(alias: str) -> str:
    """`target_session_attrs=read-write` where the first of two hosts is a standby."""
    connect = connector(alias)
    # PgBouncer is one host to its clients; behind it the name `either` stands for the same two.
    two = (
        {"dbname": "either"}
        if alias == "through"
        else {"host": ",".join(reversed(settings.DATABASES["default"]["HOST"].split(","))), "port": "5432"}
    )
    with connect(target_session_attrs="read-write", **two) as mine:
        asked = [mine]
        with contextlib.ExitStack() as held:
            for _ in range(3):
                other = held.enter_context(connect(target_session_attrs="read-write", **two))
                held.enter_context(other.transaction())
                asked.append(other)
            standbys = sum(_value(one, "SELECT pg_is_in_recovery()") for one in asked)
    return f"{standbys} of {len(asked)} connections are a standby" if standbys else WORKS


def _line(error: Exception) -> str:
    """Return what was wrong, without where."""
    return str(error).splitlines()[0].rpartition("failed: ")[2].removeprefix("FATAL:  ").strip()


CHECKS: dict[str, Callable[[Connect], str]] = {
    "`SET` for the session": setting,
    "`SET LOCAL` in a transaction": local_setting,
    "advisory lock of the session": session_lock,
    "advisory lock of a transaction": transaction_lock,
    "statement prepared by the driver": protocol_prepared,
    "`PREPARE` and `EXECUTE` in SQL": sql_prepared,
    "`LISTEN`": listen,
    "temporary table": temporary_table,
    "cursor outside a transaction (`.iterator()`)": held_cursor,
    "`options=-c …` at the connection": options,
}


ROLES = "`target_session_attrs` over two hosts"


def breaks() -> dict[str, tuple[str, str]]:
    """Return for each thing how it goes directly, and how through PgBouncer."""

    def outcome(check: Callable[[], str]) -> str:
        try:
            return check()
        except psycopg.Error as error:
            return _line(error)

    found = {
        name: (outcome(partial(check, connector("pool"))), outcome(partial(check, connector("through"))))
        for name, check in CHECKS.items()
    }
    return found | {ROLES: (outcome(partial(roles, "pool")), outcome(partial(roles, "through")))}
