"""A bucket changes its shard only when its events have left the outbox of the old one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from waiting import TIME_FACTOR

from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.moving import steps
from scaleout.sharding.moving.outbox import Outbox
from scaleout.sharding.moving.session import MoveError, connect
from scaleout.sharding.moving.state import Job, Step
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import TABLES, Author, author_on
from scaleout.sharding.tests.test_reshard import killed
from scaleout.sharding.transactions import shard_atomic

SOURCE, TARGET = "shard0", "shard2"
NAME = "sent"
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves", "outbox"),
]


def ask(alias: str, sql: str, *parameters: Any) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def outbox() -> Iterator[None]:
    """A table of another project: a move knows no more of it than its name and three columns."""
    for alias in (SOURCE, TARGET):
        columns = "id bigserial PRIMARY KEY, bucket smallint, parked_at timestamptz"
        ask(alias, f"CREATE TABLE {NAME} ({columns})")
        ask(alias, f"CREATE INDEX ON {NAME} (bucket, id)")
    yield
    for alias in (SOURCE, TARGET):
        ask(alias, f"DROP TABLE {NAME}")


def mover(report: Any = lambda *_: None) -> Mover:
    return Mover("default", conf().shards, [model._meta.db_table for model in TABLES], report, outbox=NAME)


def put(bucket: int | None, parked: str = "NULL", alias: str = SOURCE) -> None:
    ask(alias, f"INSERT INTO {NAME} (bucket, parked_at) VALUES (%s, {parked})", bucket)  # noqa: S608 - our own words


def take_out() -> None:
    ask(SOURCE, f"DELETE FROM {NAME}")  # noqa: S608 - our own name


def buckets() -> list[int]:
    return shard_map.current().buckets_of(0)[:4]


def run(report: Any = lambda *_: None) -> Job:
    with mover(report) as one:
        return one.run(one.unfinished() or one.start(0, 2, buckets()))


class Later:
    """Does something after some seconds, in a thread, and says when."""

    def __init__(self, seconds: float, what: Any) -> None:
        self.at = float("inf")
        self._what = what
        self._timer = threading.Timer(seconds, self._do)
        self._timer.start()

    def _do(self) -> None:
        try:
            self.at = time.monotonic()
            self._what()
        finally:
            connections.close_all()

    def end(self) -> None:
        self._timer.join(30 * TIME_FACTOR)


def steps_before(step: str) -> list[str]:
    """Take the events out when the move waits for them, let it end, and return what it reported
    before `step`.
    """
    order: list[str] = []

    def report(what: str, _done: int, _of: int) -> None:
        order.append(what)
        if what == "events":
            take_out()

    assert run(report=report).step == Step.ACTIVE
    return order[: order.index(step)]


# ── before the buckets are blocked ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("known", [True, False], ids=["of a bucket", "of no known bucket"])
def test_a_move_blocks_nothing_before_what_was_there_is_gone(known: bool) -> None:
    put(buckets()[1] if known else None)
    assert "events" in steps_before("blocked")


def test_what_is_left_of_other_buckets_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "DELIVERY", 0.0)
    put(shard_map.current().buckets_of(0)[4], parked="now()")
    put(buckets()[0], parked="now()", alias=TARGET)
    assert run().step == Step.ACTIVE


def test_events_of_no_known_bucket_that_come_later_hold_nothing_up() -> None:
    stop = threading.Event()

    def always_one() -> None:
        try:
            while not stop.is_set():
                put(None)
                ask(SOURCE, f"DELETE FROM {NAME} WHERE id < (SELECT max(id) FROM {NAME})")  # noqa: S608 - our own name
        finally:
            connections.close_all()

    thread = threading.Thread(target=always_one)
    put(None)
    thread.start()
    try:
        assert run().step == Step.ACTIVE
    finally:
        stop.set()
        thread.join(30 * TIME_FACTOR)


@pytest.mark.parametrize("parked", [False, True])
def test_events_that_stay_end_the_move_with_one_line_and_no_bucket_is_blocked(
    monkeypatch: pytest.MonkeyPatch, parked: bool
) -> None:
    monkeypatch.setattr(steps, "DELIVERY", 600.0 if parked else 0.5)
    put(buckets()[0])
    put(buckets()[2], parked="now()" if parked else "NULL")
    put(None)
    what = "2 on their way, 1 parked" if parked else "3 on their way, 0 parked"
    with pytest.raises(MoveError, match=r"buckets 0,6; 1 of no known bucket\)\. .* `reshard resume`") as raised:
        run()
    assert what in str(raised.value)
    assert shard_map.current().buckets_of(0)[:4] == buckets()
    assert ask(SOURCE, "SELECT count(*) FROM sharding_bucket WHERE state <> 'active'") == [(0,)]
    take_out()
    assert run().step == Step.ACTIVE


def test_a_move_that_waits_for_events_can_be_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    put(buckets()[0], parked="now()")
    with mover() as one:
        job = one.start(0, 2, buckets())
        with pytest.raises(MoveError, match="1 parked"):
            one.run(job)
        one.abort(job)
    assert job.step == Step.ABORTED
    assert ask(SOURCE, "SELECT count(*) FROM sharding_bucket WHERE state <> 'active' OR logged") == [(0,)]


@pytest.mark.parametrize(("step", "count"), [("events", 1), ("blocked", 3)])
def test_a_move_that_was_killed_asks_again_before_the_map_is_changed(
    monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    monkeypatch.setenv("OUTBOX", NAME)
    if step == "events":
        put(buckets()[0])
    with mover() as one:
        one.start(0, 2, buckets())
    killed("run", step, count)
    if step == "blocked":  # written by a transaction that the mover has not seen
        put(buckets()[0])
    assert "events" in steps_before("flipped")


# ── while they are blocked ────────────────────────────────────────────────────────────────────────
def test_what_was_written_just_before_the_buckets_were_blocked_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the budget: writes wait once."""
    monkeypatch.setattr(steps, "BUDGET", 60.0)  # however late the events go
    waits: list[Later] = []
    flipped: list[float] = []

    def report(what: str, done: int, of: int) -> None:
        if (what, done, of) == ("blocked", 0, 1):
            put(buckets()[0])
            waits.append(Later(0.3, take_out))
        elif what == "flipped":
            flipped.append(time.monotonic())

    assert run(report=report).step == Step.ACTIVE
    assert len(waits) == 1
    waits[0].end()
    assert flipped[0] > waits[0].at


def test_events_that_take_longer_than_writes_may_wait_release_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BUDGET", 0.5 * TIME_FACTOR)
    author = author_on(0)
    order: list[str] = []

    def report(what: str, done: int, of: int) -> None:
        if (what, done, of) == ("blocked", 0, 1) and "blocked" not in order:
            put(buckets()[0])
        elif what == "events":
            Author.objects.filter(pk=author.pk).update(name="released")
            take_out()
        order.append(what)

    assert run(report=report).step == Step.ACTIVE
    assert order.index("blocked") < order.index("events") < order.index("flipped")
    assert Author.objects.get(pk=author.pk).name == "released"


def test_events_that_never_go_while_the_buckets_are_blocked_end_the_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BUDGET", 0.4 * TIME_FACTOR)
    monkeypatch.setattr(steps, "TRIES", 2)

    def report(what: str, done: int, of: int) -> None:
        if (what, done, of) == ("blocked", 0, 1):
            put(buckets()[0])
        elif what == "events":
            take_out()

    with pytest.raises(MoveError, match=r"could not be blocked and compared .*1 on their way, 0 parked"):
        run(report=report)
    assert ask(SOURCE, "SELECT count(*) FROM sharding_bucket WHERE state <> 'active'") == [(0,)]


@pytest.mark.parametrize("writes", [True, False], ids=["writes", "only publishes"])
def test_a_transaction_that_is_still_open_has_its_events_counted(writes: bool) -> None:
    """It holds its bucket, so the mover gives way to it, and sees what it has written when it has
    ended.
    """
    key = author_on(0).pk
    written, go = threading.Event(), threading.Event()
    flipped: list[float] = []

    def slow() -> None:
        try:
            with shard_atomic(key) as alias, transaction.atomic(using=alias):
                if writes:
                    Author.objects.filter(pk=key).update(name="slow")
                put(bucket_of(key))
                written.set()
                go.wait(30 * TIME_FACTOR)
        finally:
            connections.close_all()

    thread = threading.Thread(target=slow)

    def report(what: str, done: int, of: int) -> None:
        if (what, done, of) == ("blocked", 0, 1) and not written.is_set():
            thread.start()
            assert written.wait(30 * TIME_FACTOR)
            threading.Timer(0.2, go.set).start()
            waits.append(Later(1.0, take_out))
        elif what == "flipped":
            flipped.append(time.monotonic())

    waits: list[Later] = []
    assert run(report=report).step == Step.ACTIVE
    thread.join(30 * TIME_FACTOR)
    waits[0].end()
    assert flipped[0] > waits[0].at


# ── what a look costs ─────────────────────────────────────────────────────────────────────────────
def test_a_look_reads_what_is_left_of_the_buckets_and_not_the_whole_outbox() -> None:
    ask(SOURCE, f"INSERT INTO {NAME} (bucket) SELECT 500 + n %% 500 FROM generate_series(1, 100000) AS n")  # noqa: S608 - our own name
    put(buckets()[0])
    ask(SOURCE, f"ANALYZE {NAME}")
    outbox = Outbox(NAME)
    with connect(SOURCE) as shard, shard.transaction():
        assert outbox.left(shard, buckets(), outbox.last(shard)).by_bucket == {buckets()[0]: 1}
        read = shard.execute(
            "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s", [NAME]
        ).fetchone()
    assert read is not None
    assert (read[0], read[1] < 10) == (0, True)
