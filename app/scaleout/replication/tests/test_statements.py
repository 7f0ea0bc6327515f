"""Statements that may write, by their text; and writes that bypass Django's cursors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import Count, Exists, OuterRef, Q, Value
from django.db.models.functions import Coalesce, Lower, TruncDay

from scaleout.replication import state, statements

READS = [
    "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(a)), 0) FROM b",  # for Prometheus
    "SELECT 1",
    " (SELECT 1) UNION (SELECT 2)",
    'SELECT COUNT(*) AS "__count" FROM "t" WHERE ("t"."a" IN (%s, %s) AND NOT (UPPER("t"."b"::text) LIKE UPPER(%s)))',
    "SHOW server_version;",
    "EXPLAIN SELECT 1",
    'SAVEPOINT "s1"',
    "SET statement_timeout = 5",
]
WRITES = [
    "INSERT INTO t VALUES (1)",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
    "SELECT archive(5)",
    "select * from public.archive (5)",
    'SELECT "archive"(5)',
    "SELECT nextval('t_id_seq')",
    "SELECT * INTO u FROM t",
    "SELECT 1; DELETE FROM t",
    "EXPLAIN ANALYZE DELETE FROM t",
    "explain (analyze, buffers) UPDATE t SET a = 1",
    "/* SELECT */ DELETE FROM t",
    "DO $$ BEGIN END $$",
    "CALL archive(5)",
    b"SELECT 1",
]


@pytest.mark.parametrize("sql", READS)
def test_a_read_is_known_as_one(sql: str) -> None:
    assert not statements.may_write(sql)


@pytest.mark.parametrize("sql", WRITES)
def test_what_may_write_is_known(sql: object) -> None:
    assert statements.may_write(sql)


def test_queries_of_the_orm_are_reads() -> None:
    rows = Session.objects.all()
    same = Session.objects.filter(pk=OuterRef("pk"))
    for query in (
        rows.filter(Q(pk__in=["a"]) | Q(pk__iexact="b")).exclude(pk__startswith="c").order_by("-expire_date")[:5],
        rows.annotate(day=TruncDay("expire_date")).values("day").annotate(number=Count("pk")),
        rows.annotate(key=Lower(Coalesce("session_key", Value("")))).filter(Exists(same)),
    ):
        assert not statements.may_write(str(query.query)), query.query


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize(
    "write",
    [
        lambda cursor: cursor.copy("COPY noted FROM STDIN").__enter__().__class__,
        lambda cursor: cursor.callproc("txid_current"),
        lambda cursor: cursor.execute("SELECT txid_current()"),
        lambda cursor: list(cursor.stream("SELECT 1")),
        lambda cursor: cursor.executemany("INSERT INTO noted VALUES (%s)", [(1,)]),
    ],
    ids=["copy", "callproc", "function", "stream", "executemany"],
)
def test_a_write_is_noted_whichever_way_it_takes(write: Callable[[Any], Any]) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE noted (number int)")
        try:
            state.begin()
            write(cursor)
            assert state.current().wrote
        finally:
            connections["default"].close()


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_a_write_of_a_shard_leaves_the_reads_where_they_are_but_is_not_repeated() -> None:
    state.begin()
    with connections["shard0"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE noted () ON COMMIT DROP")
    assert not state.current().wrote
    assert not state.current().done.repeatable
