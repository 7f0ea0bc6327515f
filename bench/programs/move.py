"""Two ways to move the same buckets to another server, and what each costs a writer.

The project's mover, from SOURCE, and PostgreSQL's logical replication, from LOGICAL, a server with
`wal_level = logical`. Both have the same rows, of all buckets. Each call moves to TARGET and stops
when every row is compared and the map could be changed; `back` puts everything back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import cache, partial
from types import TracebackType
from typing import Any, Self

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql
from psycopg.conninfo import make_conninfo
from scaleout.sharding.fence import SQLSTATE
from scaleout.sharding.fill import fill_map, fill_shard
from scaleout.sharding.ids import BUCKET_BITS, BUCKETS, SEQUENCE_BITS
from scaleout.sharding.moving import index
from scaleout.sharding.moving.copy import BUCKET, find_tables
from scaleout.sharding.moving.session import Connection, connect
from scaleout.sharding.moving.state import Step
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.moving.verify import differing

from programs.prepare import wait
from programs.serve import Call, Operation, serve

ROWS = 300_000  # of each source
MOVED, NOTED, OTHERS = range(100), range(100, 200), range(200, 300)  # buckets: moved; those of writers alone
PACE = 200.0  # writes a second, beside a move
COUNTED, PASSES = 1_000, 3  # writes whose WAL is counted, in the last pass over the same rows
LIMIT = 30.0  # seconds for anything that is waited for
POLL = 0.002  # seconds
SOURCE, LOGICAL, TARGET = "shard0", "shard1", "shard2"
TABLE = "users_user"
NAME = "bench_move"  # of the publication, the slot and the subscription

# Ids as if they had been taken one after the other, of any bucket: each page of the table has rows
# of many.
FILL = f"""
    INSERT INTO users_user (id, email, name, password, is_staff, created_at)
    SELECT ((n::bigint >> {SEQUENCE_BITS}) << {BUCKET_BITS + SEQUENCE_BITS})
           | ((hashint4(n) & {BUCKETS - 1})::bigint << {SEQUENCE_BITS}) | (n & {(1 << SEQUENCE_BITS) - 1}),
           'user' || n || '@example.org', 'user ' || n, repeat('x', 97), false, now()
      FROM generate_series(1, %s) AS n
"""  # noqa: S608 - made of our own numbers
UPDATE = "UPDATE users_user SET name = %s WHERE id = %s"

_after = ExitStack()  # what `back` has to do


class VerifiedError(Exception):
    """The mover has compared every row: it is stopped before it changes the map."""


def prepare() -> None:
    """Make the tables; fill both sources alike."""
    wait(list(settings.DATABASE_APPS))
    for alias in settings.DATABASE_APPS:
        call_command("migrate", database=alias, interactive=False, verbosity=0)
    fill_map("default", {0: SOURCE})
    for alias in (SOURCE, LOGICAL):
        fill_shard(alias, list(range(BUCKETS)))
        with closing(connect(alias)) as shard:
            shard.execute("SET session_replication_role = replica")  # the fence would look at each row
            shard.execute(FILL, [ROWS])
            shard.execute("VACUUM (ANALYZE)")
            shard.execute("CHECKPOINT")
    with closing(connect(SOURCE)) as shard:
        shard.execute("UPDATE sharding_bucket SET logged = true WHERE bucket = ANY(%s)", [list(NOTED)])


def of(buckets: Iterable[int]) -> sql.Composed:
    """Return the condition that a row is in one of `buckets`, as a publication takes it: one
    constant.
    """
    return sql.SQL("{} = ANY({}::bigint[])").format(BUCKET, sql.Literal(f"{{{','.join(map(str, buckets))}}}"))


@cache
def rows(alias: str, buckets: range) -> list[int]:
    """Return the ids of the rows of `buckets`."""
    with closing(connect(alias)) as shard:
        found = shard.execute(sql.SQL("SELECT id FROM {} WHERE {}").format(sql.Identifier(TABLE), of(buckets)))
        return [id_ for (id_,) in found]


class Writer:
    """A thread that writes to the buckets that move, `pace` times a second, and again where they
    take no writes.
    """

    def __init__(self, alias: str, pace: float) -> None:
        self._ids = rows(alias, MOVED)
        self._alias, self._pace = alias, pace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None
        self.count = 0

    def __enter__(self) -> Self:
        if self._pace:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pace:
            self._stop.set()
            self._thread.join(LIMIT)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with closing(connect(self._alias)) as shard:
                due = time.monotonic()
                while not self._stop.wait(max(0.0, due - time.monotonic())):
                    due += 1 / self._pace
                    try:
                        shard.execute(UPDATE, [f"writer {self.count}", random.choice(self._ids)])
                        self.count += 1
                    except psycopg.Error as refused:
                        if refused.sqlstate != SQLSTATE:
                            raise
        except Exception as error:
            self._error = error


# ── by the mover ──────────────────────────────────────────────────────────────────────────────────
def by_mover(pace: float) -> dict[str, float]:
    """Let the mover do all that it does before it changes the map.

    Returns seconds: `ready` until writes are blocked, `pause` from then until all is compared,
    `drain` of it until all rows are there; and how much was `written` meanwhile.
    """
    at: dict[tuple[str, int], float] = {}

    def report(step: str, done: int, _of: int) -> None:
        at[str(step), done] = time.monotonic()  # the last time, where it had to try again
        if step == Step.VERIFIED:
            raise VerifiedError

    mover = _after.enter_context(Mover("default", settings.SHARDS, [TABLE], report))
    with Writer(SOURCE, pace) as writer:
        begun = time.monotonic()
        job = mover.start(0, 2, MOVED)
        try:
            mover.run(job)
        except VerifiedError:
            _after.callback(_empty_target)
            _after.callback(mover.abort, job)
    blocked, drained, verified = (at[key] for key in ((Step.BLOCKED, 0), (Step.BLOCKED, 2), (Step.VERIFIED, 0)))
    return {
        "ready": blocked - begun,
        "pause": verified - blocked,
        "drain": drained - blocked,
        "written": writer.count,
    }


def _empty_target() -> None:
    with closing(connect(TARGET)) as shard:
        shard.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(TABLE)))


# ── by logical replication ────────────────────────────────────────────────────────────────────────
def until(question: Callable[[], Any], what: str) -> None:
    """Ask until the answer is true. Raises TimeoutError after LIMIT."""
    end = time.monotonic() + LIMIT
    while not question():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {LIMIT:.0f} s")
        time.sleep(POLL)


def subscribe(source: Connection, target: Connection, buckets: Iterable[int]) -> None:
    """Let `target` have the rows of `buckets`, and what is done to them from now on; return when it
    has them.
    """
    known = settings.DATABASES[LOGICAL]
    words = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    conninfo = make_conninfo(**{word: known[name] for word, name in words.items()}, sslmode="disable")
    name = sql.Identifier(NAME)
    source.execute(
        sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WHERE ({})").format(name, sql.Identifier(TABLE), of(buckets))
    )
    _after.callback(_run, LOGICAL, sql.SQL("DROP PUBLICATION {}").format(name))
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [NAME])
    # A commit of the default, `off`, is confirmed when the WAL writer comes round: up to 0.2 s of
    # pause more.
    target.execute(
        sql.SQL(
            "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH (create_slot = false, synchronous_commit = 'on')"
        ).format(name, sql.Literal(conninfo), name)
    )
    _after.callback(_empty_target)
    _after.callback(_run, TARGET, sql.SQL("DROP SUBSCRIPTION {}").format(name))  # and with it the slot
    until(
        lambda: (
            target.execute(
                "SELECT FROM pg_subscription_rel JOIN pg_subscription ON oid = srsubid"
                " WHERE subname = %s HAVING count(*) > 0 AND bool_and(srsubstate = 'r')",
                [NAME],
            ).fetchone()
            is not None
        ),
        "the first copy",
    )


def confirmed(source: Connection) -> None:
    """Return when the subscriber has confirmed all that is written by now."""
    written = source.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert written is not None
    until(
        lambda: (
            source.execute(
                "SELECT FROM pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn >= %s::pg_lsn",
                [NAME, written[0]],
            ).fetchone()
            is not None
        ),
        "the slot's position",
    )


def _run(alias: str, statement: sql.Composed) -> None:
    with closing(connect(alias)) as shard:
        shard.execute(statement)


def _state(shard: Connection, state: str) -> None:
    shard.execute("UPDATE sharding_bucket SET state = %s WHERE bucket = ANY(%s)", [state, list(MOVED)])


def by_replication(pace: float) -> dict[str, float]:
    """Move the same buckets by a publication of their rows; the index and the comparison are the
    mover's.

    Returns what `by_mover` does. Nobody knows which rows were written since some earlier
    comparison: so all of them are compared while writes wait.
    """
    source, target = (_after.enter_context(closing(connect(alias))) for alias in (LOGICAL, TARGET))
    tables = find_tables(source, target, [TABLE])
    with Writer(LOGICAL, pace) as writer:
        begun = time.monotonic()
        for end in (source, target):
            _after.callback(index.drop, end, tables)
            index.make(end, tables)
        subscribe(source, target, MOVED)
        confirmed(source)
        _after.callback(_state, source, "active")
        blocked = time.monotonic()
        _state(source, "blocked")
        confirmed(source)
        drained = time.monotonic()
        different = differing(source, target, tables, MOVED)
        compared = time.monotonic()
    if different:
        raise RuntimeError(f"rows differ: {different}")
    return {"ready": blocked - begun, "pause": compared - blocked, "drain": drained - blocked, "written": writer.count}


def follow() -> None:
    """Let TARGET follow the rows of NOTED on LOGICAL, until `back`."""
    source, target = (_after.enter_context(closing(connect(alias))) for alias in (LOGICAL, TARGET))
    subscribe(source, target, NOTED)


def back() -> None:
    """Put everything back as it was."""
    _after.close()


# ── a writer ──────────────────────────────────────────────────────────────────────────────────────
WRITES = {
    "plain": (SOURCE, OTHERS),
    "logged": (SOURCE, NOTED),
    "logical": (LOGICAL, OTHERS),
    "followed": (LOGICAL, NOTED),
    "beside": (LOGICAL, OTHERS),
}


def write(alias: str, buckets: range) -> int:
    """Update one row of `buckets`."""
    with connections[alias].cursor() as cursor:
        cursor.execute(UPDATE, [str(random.random()), random.choice(rows(alias, buckets))])
        return int(cursor.rowcount)


def wal() -> dict[str, float]:
    """Return the bytes of WAL that COUNTED updates make, by how they are written down.

    The same rows again and again, and the last time counts: so no page is in it as a whole, as it
    is once after a checkpoint.
    """
    found = {}
    for name in ("plain", "logged", "logical"):
        alias, buckets = WRITES[name]
        with closing(connect(alias)) as shard:
            for number in range(PASSES):
                (before,) = shard.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone() or ("",)
                for id_ in rows(alias, buckets)[:COUNTED]:
                    shard.execute(UPDATE, [f"counted {number}", id_])
                made = shard.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [before]).fetchone()
            assert made is not None
            found[name] = float(made[0])
    return found


OPERATIONS: dict[str, Operation] = {name: partial(write, *where) for name, where in WRITES.items()}
CALLS: dict[str, Call] = {
    "mover": partial(by_mover, 0),
    "replication": partial(by_replication, 0),
    "mover, written": partial(by_mover, PACE),
    "replication, written": partial(by_replication, PACE),
    "follow": follow,
    "back": back,
    "wal": wal,
}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, prepare, calls=CALLS)
