"""Ids: they carry their bucket, fit 53 bits, only grow, and never come twice."""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connections, transaction

from sharding import ids
from sharding.errors import BucketMoved
from sharding.ids import BUCKETS, body_of, bucket_of, compose, take, take_for
from sharding.tests.shelves import set_state

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]

PROCESSES = 8
IDS_OF_EACH = 125_000


def test_an_id_carries_its_bucket_and_fits_53_bits() -> None:
    largest = (1 << 43) - 1
    assert compose(largest, 1023) == ids.LARGEST == 2**53 - 1
    for body, bucket in ((0, 0), (1, 1023), (largest, 0), (5 << 11 | 2047, 7)):
        assert (body_of(compose(body, bucket)), bucket_of(compose(body, bucket))) == (body, bucket)


def test_an_id_says_when_it_was_made() -> None:
    (made,) = take("shard0", 0)
    assert abs(ids.made_at(made) - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=2)


def test_any_number_has_a_bucket() -> None:
    assert all(0 <= bucket_of(number) < BUCKETS for number in (-1, 0, 2**53, 2**63 - 1))


def test_a_burst_borrows_from_the_seconds_to_come_and_still_only_grows() -> None:
    taken = [one for _ in range(10) for one in take("shard0", 0, 5000)]
    assert taken == sorted(set(taken))
    assert len(taken) == 50_000


def test_a_clock_that_goes_back_gives_no_id_twice() -> None:
    with connections["shard0"].cursor() as cursor:
        cursor.execute("UPDATE sharding_bucket SET last = (3000000000::bigint << 11) + 9 WHERE bucket = 0")
    assert [body_of(one) for one in take("shard0", 0, 2)] == [(3_000_000_000 << 11) + 10, (3_000_000_000 << 11) + 11]


@pytest.mark.parametrize("state", ["blocked", "incoming", "moved"])
def test_a_bucket_that_is_not_active_gives_no_ids(state: str) -> None:
    set_state("shard0", 0, state)
    with pytest.raises(BucketMoved, match="bucket 0 gives no ids on shard0"):
        take("shard0", 0)


def test_a_shard_gives_no_ids_of_a_bucket_that_another_one_holds() -> None:
    with pytest.raises(BucketMoved):
        take("shard0", 1)


def test_ids_of_several_buckets_are_taken_in_the_order_of_the_buckets() -> None:
    taken = take_for("shard0", [(9, 2), (0, 1), (3, 1)])
    assert list(taken) == [0, 3, 9]
    assert {bucket: {bucket_of(one) for one in some} for bucket, some in taken.items()} == {0: {0}, 3: {3}, 9: {9}}


def test_ids_that_were_rolled_back_are_given_again() -> None:
    with transaction.atomic(using="shard0"):
        take("shard0", 0, 100)
        transaction.set_rollback(True, using="shard0")
    with connections["shard0"].cursor() as cursor:
        cursor.execute("SELECT last FROM sharding_bucket WHERE bucket = 0")
        assert cursor.fetchone() == (0,)


def take_many(seed: int) -> None:
    """Take IDS_OF_EACH ids in blocks from random buckets and write them down: what one process does."""
    choice, left = random.Random(seed), IDS_OF_EACH
    while left:
        bucket = choice.randrange(BUCKETS)
        alias = f"shard{bucket % 3}"
        block = take(alias, bucket, min(left, choice.randint(1, 500)))
        with connections[alias].cursor() as cursor, cursor.copy("COPY proof (process, id) FROM STDIN") as copy:
            for one in block:
                copy.write_row((seed, one))
        left -= len(block)


def test_a_million_ids_from_eight_processes_are_all_different_and_grow_in_each_bucket() -> None:
    aliases = ("shard0", "shard1", "shard2")
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE proof (number bigserial, process integer, id bigint)")
    try:
        program = Path(__file__).with_name("process.py")
        names = ",".join(connections[alias].settings_dict["NAME"] for alias in aliases)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "SHARD_NAMES": names}
        running = [
            subprocess.Popen([sys.executable, str(program), str(number)], env=environment)
            for number in range(PROCESSES)
        ]
        assert [process.wait(timeout=120) for process in running] == [0] * PROCESSES
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
        assert len(found) == len(set(found)) == PROCESSES * IDS_OF_EACH
        assert max(found) <= ids.LARGEST
    finally:
        for alias in aliases:
            with connections[alias].cursor() as cursor:
                cursor.execute("DROP TABLE proof")
