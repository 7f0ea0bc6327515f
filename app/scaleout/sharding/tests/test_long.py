"""A move of large buckets: no server ends a transaction of the mover as idle, and no statement
takes long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from waiting import TIME_FACTOR

from scaleout.sharding import shard_map
from scaleout.sharding.ids import take
from scaleout.sharding.moving import copy, session, verify
from scaleout.sharding.moving.state import Step
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import TABLES, Author

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]
ROWS = 8
EACH = 0.1 * TIME_FACTOR  # seconds that a row takes
PATIENCE = 4 * EACH  # longer than a batch of two rows, shorter than all rows


def ask(alias: str, sql: str) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def slow(alias: str, when: str) -> Iterator[None]:
    """Let each row of the authors take EACH seconds."""
    ask(
        alias,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_sleep({EACH}); RETURN coalesce(NEW, OLD); END $$",
    )
    ask(alias, f"CREATE {when} ON author {'DEFERRABLE INITIALLY DEFERRED ' if 'AFTER' in when else ''}"
               "FOR EACH ROW EXECUTE FUNCTION slow()")  # fmt: skip
    try:
        yield
    finally:
        ask(alias, "DROP FUNCTION slow CASCADE")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "BATCH", 2)


@pytest.fixture
def _no_idle_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = session._SETTINGS.replace("'60s'", f"'{int(PATIENCE * 1000)}ms'")
    assert idle != session._SETTINGS
    monkeypatch.setattr(session, "_SETTINGS", idle)


def mover(report: Any = lambda *_: None) -> Mover:
    return Mover("default", settings.SHARDING["SHARDS"], [model._meta.db_table for model in TABLES], report)


def authors() -> list[Author]:
    bucket = shard_map.current().buckets_of(0)[0]
    made = [Author(id=id_, name="before") for id_ in take("shard0", bucket, ROWS)]
    return Author.objects.bulk_create(made)


def names(alias: str) -> set[str]:
    return {name for (name,) in ask(alias, "SELECT name FROM author")}


@pytest.mark.usefixtures("_no_idle_transaction")
def test_a_copy_that_replaces_many_rows_is_not_ended_as_idle() -> None:
    bucket = authors()[0].bucket
    assert bucket is not None
    with mover() as one:
        one.run(one.start(0, 2, [bucket]))
        one.run(one.start(2, 0, [bucket]))  # what it leaves on shard 2 is replaced
        with slow("shard2", "TRIGGER slow BEFORE DELETE"):
            assert one.run(one.start(0, 2, [bucket])).step == Step.ACTIVE
    assert ask("shard2", "SELECT count(*) FROM author") == [(ROWS,)]


@pytest.mark.usefixtures("_no_idle_transaction")
def test_a_copy_whose_commit_takes_long_is_not_ended_as_idle() -> None:
    """PostgreSQL looks at the foreign keys of all its rows."""
    bucket = authors()[0].bucket
    assert bucket is not None
    with mover() as one, slow("shard2", "CONSTRAINT TRIGGER slow AFTER INSERT"):
        assert one.run(one.start(0, 2, [bucket])).step == Step.ACTIVE


@pytest.mark.usefixtures("_no_idle_transaction")
@pytest.mark.parametrize(
    "when",
    ["TRIGGER slow BEFORE DELETE", pytest.param("CONSTRAINT TRIGGER slow AFTER INSERT", marks=pytest.mark.long)],
)
def test_a_long_log_is_copied_again_without_being_ended_as_idle(when: str) -> None:
    made = authors()
    bucket = made[0].bucket
    assert bucket is not None
    slowly: list[Any] = []

    def write(what: str, done: int, of: int) -> None:
        if what == "catching_up" and not slowly:
            Author.objects.filter(pk__in=[author.pk for author in made]).update(name="after")
            slowly.append(slow("shard2", when))
            slowly[0].__enter__()

    with mover(write) as one:
        try:
            assert one.run(one.start(0, 2, [bucket])).step == Step.ACTIVE
        finally:
            slowly[0].__exit__(None, None, None)
    assert names("shard2") == {"after"}


@pytest.mark.usefixtures("_no_idle_transaction")
def test_a_target_that_compares_for_longer_than_the_source_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = authors()[0].bucket
    assert bucket is not None
    fingerprints = verify._fingerprints

    def slow_there(connection: Any, *arguments: Any) -> Any:
        if connection.info.dbname == connections["shard2"].settings_dict["NAME"]:
            time.sleep(2 * PATIENCE)  # the comparison takes so long: nothing is waited for
        return fingerprints(connection, *arguments)

    with mover() as one:
        job = one.start(0, 2, [bucket])
        monkeypatch.setattr(verify, "_fingerprints", slow_there)
        monkeypatch.setattr("scaleout.sharding.moving.steps.BUDGET", 10 * PATIENCE)
        assert one.run(job).step == Step.ACTIVE


@pytest.mark.parametrize("how", ["clean", pytest.param("abort", marks=pytest.mark.long)])
def test_what_a_move_leaves_is_deleted_by_statements_that_do_not_take_long(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bucket = authors()[0].bucket
    assert bucket is not None

    def stop(what: str, _done: int, _of: int) -> None:
        if (how, what) == ("abort", "catching_up"):
            raise KeyboardInterrupt

    with mover(stop) as one:
        job = one.start(0, 2, [bucket])
        if how == "abort":
            with pytest.raises(KeyboardInterrupt):
                one.run(job)
        else:
            one.run(job)
    there = "shard2" if how == "abort" else "shard0"
    assert ask(there, "SELECT count(*) FROM author") == [(ROWS,)]
    monkeypatch.setattr(session, "_SETTINGS", f"{session._SETTINGS}; SET statement_timeout = {int(PATIENCE * 1000)}")
    with slow(there, "TRIGGER slow BEFORE DELETE"), mover() as one:
        getattr(one, how)(job)
    assert ask(there, "SELECT count(*) FROM author") == [(0,)]
