"""Ids: they carry their bucket, fit 53 bits, only grow, and never come twice, whatever is rolled
back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import forked
import pytest
from django.conf import settings
from django.db import connections, transaction
from waiting import TIME_FACTOR

from scaleout.sharding import ids, shard_map
from scaleout.sharding.errors import BucketMoved, MapIncomplete
from scaleout.sharding.fill import fill
from scaleout.sharding.ids import BUCKETS, FIRST, body_of, bucket_of, compose, take, take_for
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.server import Server
from scaleout.sharding.tests.shelves import TABLES, Book, author_on, set_state
from scaleout.sharding.transactions import shard_atomic

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]
# What the release before runs for an id, inside the caller's transaction: the clock's seconds, or a
# counter.
OLD = """
    UPDATE sharding_bucket
       SET last = greatest(last + 1, ((extract(epoch FROM clock_timestamp())::bigint - 1767225600) << 11))
     WHERE bucket = %s AND state = 'active' RETURNING last
"""


def ask(alias: str, sql: str, *parameters: int) -> list[tuple[int, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def test_an_id_carries_its_bucket_and_fits_53_bits() -> None:
    largest = (1 << 43) - 1
    assert compose(largest, 1023) == ids.LARGEST == 2**53 - 1
    for body, bucket in ((0, 0), (1, 1023), (largest, 0), (5 << 11 | 2047, 7)):
        assert (body_of(compose(body, bucket)), bucket_of(compose(body, bucket))) == (body, bucket)


def test_any_number_has_a_bucket() -> None:
    assert all(0 <= bucket_of(number) < BUCKETS for number in (-1, 0, 2**53, 2**63 - 1))


def test_a_burst_of_any_size_only_grows() -> None:
    taken = [one for _ in range(10) for one in take("shard0", 0, 5000)]
    assert taken == sorted(set(taken))
    assert len(taken) == 50_000
    assert max(taken) <= ids.LARGEST


@pytest.mark.parametrize("state", ["blocked", "incoming", "moved"])
def test_a_bucket_that_is_not_active_gives_no_ids(state: str) -> None:
    set_state("shard0", 0, state)
    with pytest.raises(BucketMoved, match="bucket 0 gives no ids on shard0"):
        take("shard0", 0)


def test_a_shard_gives_no_ids_of_a_bucket_that_another_one_holds() -> None:
    with pytest.raises(BucketMoved):
        take("shard0", 1)


def test_ids_of_several_buckets_are_taken_as_many_as_are_wanted() -> None:
    taken = take_for("shard0", {9: 2, 0: 1, 3: 1})
    assert {bucket: {bucket_of(one) for one in some} for bucket, some in taken.items()} == {0: {0}, 3: {3}, 9: {9}}
    assert [len(some) for some in taken.values()] == [2, 1, 1]


def test_an_id_that_was_rolled_back_is_never_given_again_and_a_second_try_harms_no_other_row() -> None:
    author = author_on(0)
    for attempt in range(5):
        mine = Book(author_id=author.pk, title=f"mine {attempt}")
        with shard_atomic(author.pk) as alias:
            mine.save()
            transaction.set_rollback(True, using=alias)
        theirs = Book.objects.create(author_id=author.pk, title=f"theirs {attempt}")
        if attempt % 2:
            mine.delete()
        else:
            mine.save()
        assert Book.objects.get(pk=theirs.pk).title == f"theirs {attempt}"
    titles = Book.objects.filter(author_id=author.pk, title__startswith="mine").values_list("title", flat=True)
    assert set(titles) == {"mine 0", "mine 2", "mine 4"}


def test_what_is_rolled_back_in_many_ways_gives_no_id_twice() -> None:
    seen: list[int] = []
    for _ in range(20):
        with transaction.atomic(using="shard0"):
            seen += take("shard0", 0, 40)
            with transaction.atomic(using="shard0"):
                seen += take("shard0", 0)
                transaction.set_rollback(True, using="shard0")
        with transaction.atomic(using="shard0"):
            seen += take("shard0", 0, 3)
            transaction.set_rollback(True, using="shard0")
        connections["shard0"].close()
    assert len(set(seen)) == len(seen) == 20 * 44


def test_rows_of_one_bucket_are_made_beside_an_open_transaction_that_made_one() -> None:
    author = author_on(0)
    made = threading.Event()

    def other() -> None:
        Book.objects.create(author_id=author.pk, title="beside")
        made.set()
        connections.close_all()

    with shard_atomic(author.pk):
        Book.objects.create(author_id=author.pk, title="slow")
        thread = threading.Thread(target=other)
        thread.start()
        assert made.wait(10 * TIME_FACTOR), "it waits for the end of another transaction"
    thread.join()


def test_a_moved_bucket_gives_greater_ids_than_before_there_and_back() -> None:
    bucket = shard_map.current().buckets_of(0)[0]
    take("shard0", bucket, 5000)  # the sequences are not at the same number
    names = [model._meta.db_table for model in TABLES]
    seen = take("shard0", bucket, 2)
    for source, target in ((0, 2), (2, 1), (1, 0), (0, 2)):
        with Mover("default", settings.SHARDING["SHARDS"], names) as mover:
            mover.run(mover.start(source, target, [bucket]))
        with pytest.raises(BucketMoved):
            take(settings.SHARDING["SHARDS"][source], bucket)
        # The other buckets of both shards take ids at the same time; that brings the sequences
        # nowhere near.
        take(settings.SHARDING["SHARDS"][source], shard_map.current().buckets_of(source)[-1], 100)
        seen += take(settings.SHARDING["SHARDS"][target], bucket, 2)
        with transaction.atomic(using=settings.SHARDING["SHARDS"][target]):
            seen += take(settings.SHARDING["SHARDS"][target], bucket, 50)
            transaction.set_rollback(True, using=settings.SHARDING["SHARDS"][target])
    assert seen == sorted(set(seen))


def test_the_ids_of_the_release_before_and_of_this_one_can_be_made_at_once() -> None:
    old, new = [], []
    for _ in range(50):
        old += [compose(body, 0) for ((body,),) in [ask("shard0", OLD, 0)]]
        new += take("shard0", 0)
    assert max(body_of(one) for one in old) < FIRST < min(body_of(one) for one in new)
    assert len(set(old + new)) == 100


def test_a_bucket_that_an_older_release_moved_gives_no_ids_before_prepare_has_run() -> None:
    before = take("shard1", 1, 3000)
    ask("shard1", "UPDATE sharding_bucket SET state = 'moved' WHERE bucket = 1")
    ask("shard0", "INSERT INTO sharding_bucket (bucket, state, last) VALUES (1, 'active', 0)")
    with pytest.raises(MapIncomplete, match=r"bucket 1 has no base on shard0: an older release moved it\. Run prepare"):
        take("shard0", 1)
    fill("default", settings.SHARDING["SHARDS"])
    assert take("shard0", 1) > before


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A shard of its own with one bucket, whose WAL stays in memory until a commit waits for the
    disk.
    """
    with Server(tmp_path / "primary") as made:
        made.execute("CREATE TABLE sharding_bucket (bucket smallint PRIMARY KEY, state text, base bigint)")
        made.execute("INSERT INTO sharding_bucket VALUES (0, 'active', 0)")
        made.execute("CREATE SEQUENCE sharding_ids")
        yield made


def bodies(server: Server, count: int) -> list[int]:
    """Take ids one by one, each in a transaction of its own: what the caller holds was
    committed.
    """
    with server.connect() as connection:
        return [row[0] for _ in range(count) for row in connection.execute(ids._TAKE, [0, 1]).fetchall()]


@pytest.mark.parametrize("crashes", [2, pytest.param(5, marks=pytest.mark.long)])
def test_a_shard_that_crashes_gives_no_id_again(server: Server, crashes: int) -> None:
    seen: list[int] = []
    for _ in range(crashes):
        # This transaction moves the sequence's mark in the WAL, is never committed, and so waits
        # for no disk.
        with closing(server.connect()) as lost:
            lost.autocommit = False
            lost.execute("SELECT nextval('sharding_ids') FROM generate_series(1, 40)")
            seen += bodies(server, 5)
            server.crash()
        server.start()
    seen += bodies(server, 5)
    assert seen == sorted(set(seen))
    assert max(seen) <= (crashes + 1) * (40 + 5 + 32)  # PostgreSQL skips up to 32 values


def test_a_standby_that_replaces_the_shard_gives_no_id_again(server: Server, tmp_path: Path) -> None:
    with Server(tmp_path / "standby", standby_of=server) as standby:
        server.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        # A reload reaches the processes one after the other: a commit might not wait yet.
        server.crash()
        server.start()
        with closing(server.connect()) as lost:
            lost.autocommit = False
            lost.execute("SELECT nextval('sharding_ids') FROM generate_series(1, 40)")
            seen = bodies(server, 5)
            server.crash()
        standby.promote()
        seen += bodies(standby, 5)
    assert seen == sorted(set(seen))


def take_many(seed: int, count: int) -> None:
    """Take `count` ids in blocks from random buckets and write them down: what one process does."""
    choice, left = random.Random(seed), count
    while left:
        bucket = choice.randrange(BUCKETS)
        alias = f"shard{bucket % 3}"
        block = take(alias, bucket, min(left, choice.randint(1, 500)))
        with connections[alias].cursor() as cursor, cursor.copy("COPY proof (process, id) FROM STDIN") as copy:
            for one in block:
                copy.write_row((seed, one))
        left -= len(block)


@pytest.mark.parametrize(("processes", "count"), [(3, 5_000), pytest.param(8, 50_000, marks=pytest.mark.long)])
def test_ids_of_several_processes_are_all_different_and_grow_in_each_bucket(processes: int, count: int) -> None:
    aliases = ("shard0", "shard1", "shard2")
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE proof (number bigserial, process integer, id bigint)")
    running: list[ForkServerProcess] = []
    try:
        names = [connections[alias].settings_dict["NAME"] for alias in aliases]
        running += [
            forked.start("scaleout.sharding.tests.process", names, number, count) for number in range(processes)
        ]
        for process in running:
            process.join(120 * TIME_FACTOR)
        assert [process.exitcode for process in running] == [0] * processes
        found: list[int] = []
        for alias in aliases:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT id FROM proof")
                found += [one for (one,) in cursor.fetchall()]
                # In the order in which one process wrote them, the ids of one bucket only grow.
                cursor.execute(
                    "SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY process, id >> 11 & 1023"
                    " ORDER BY number) AS before FROM proof) AS pairs WHERE id <= before"
                )
                assert cursor.fetchone() == (0,)
        assert len(found) == len(set(found)) == processes * count
        assert max(found) <= ids.LARGEST
    finally:
        for process in running:
            process.kill()
            process.join()
        for alias in aliases:
            with connections[alias].cursor() as cursor:
                cursor.execute("DROP TABLE proof")
