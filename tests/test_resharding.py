"""A hundred buckets with 100,000 users and orders move under reads, writes and deletions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from support.client import Site
from support.mover import STEPS, Mover
from support.people import EACH, Shards
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.traffic import Orders, Traffic, Users
from support.wait import eventually

pytestmark = pytest.mark.failure

BUCKETS = 100
PAUSE = 2.0  # seconds that a write may wait
SOURCE, TARGET = 1, 2


@pytest.fixture(scope="module", params=["users", "orders"])
def shards(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Shards]:
    """The databases of a context, with the sample in a hundred buckets of one shard; empty again
    afterwards.
    """
    databases = Shards(stack, request.param)
    try:
        databases.empty()  # of a run that was broken off
        databases.buckets = databases.held_by(SOURCE)[:BUCKETS]
        databases.fill(SOURCE, databases.buckets)
        yield databases
        databases.empty()
    finally:
        databases.close()


@pytest.fixture
def traffic(shards: Shards, site: Site, product: int) -> Traffic:
    """The traffic on the sample through the load balancer."""
    return Users(shards, site.url) if shards.context == "users" else Orders(shards, site.url, product)


def assert_nothing_is_lost(shards: Shards, traffic: Traffic, holder: int) -> None:
    """Assert that only `holder` shows each row, and with its last write."""
    missing, extra, differing, misplaced = traffic.compare(holder)
    assert not missing, f"{len(missing)} missing: {missing[:5]}"
    assert not extra, f"{len(extra)} extra: {extra[:5]}"
    assert not differing, f"{len(differing)} differ: {differing[:5]}"
    assert not misplaced, f"{len(misplaced)} on other shards than the map says, or on two: {misplaced[:5]}"


def test_buckets_move_without_an_effect_on_their_users(shards: Shards, traffic: Traffic) -> None:
    mover = Mover(shards)
    assert len(shards.buckets) == BUCKETS
    assert len(traffic.known) == BUCKETS * EACH
    with traffic:
        eventually("some answers", lambda: len(traffic.outcomes) > 50, within=20)
        said = mover.run("move", "--buckets", ",".join(map(str, shards.buckets)), "--to", str(TARGET))
        after = time.monotonic()
        eventually("some answers from the new shard", lambda: time.monotonic() - after > 3, within=5)
    print(said, traffic.summary())
    waited = re.search(r"waited ([0-9.]+) s", said)
    assert waited, said
    assert float(waited[1]) <= PAUSE, said
    assert traffic.failures() == [], traffic.summary()
    assert max(one.seconds for one in traffic.outcomes) <= (PAUSE + 1) * TIME_FACTOR, traffic.summary()
    assert_nothing_is_lost(shards, traffic, TARGET)


def test_a_mover_that_is_killed_at_each_of_its_steps_is_resumed_and_loses_nothing(
    shards: Shards, traffic: Traffic
) -> None:
    mover = Mover(shards)
    with traffic:
        with mover.held() as hold:
            mover.start("move", "--buckets", ",".join(map(str, shards.buckets)), "--to", str(SOURCE))
            for step in STEPS[:-1]:
                hold.until(step)
                mover.kill()
                mover.start("resume")
                hold.release()
        assert "done" in mover.finish()
    assert not traffic.wrong, traffic.summary()
    assert_nothing_is_lost(shards, traffic, SOURCE)


def test_a_move_that_was_killed_is_aborted_and_all_is_as_it_was(shards: Shards, traffic: Traffic) -> None:
    mover = Mover(shards)
    with traffic:
        with mover.held() as hold:
            mover.start("move", "--buckets", ",".join(map(str, shards.buckets)), "--to", str(TARGET))
            hold.until("planned")
            hold.release()
            hold.until("copying")
            mover.kill()
        assert "aborted, all is as it was" in mover.run("abort")
    assert traffic.failures() == [], traffic.summary()
    assert_nothing_is_lost(shards, traffic, SOURCE)
    mover.run("clean")
    left = shards.by_number[TARGET].execute(
        "SELECT count(*) FROM sharding_bucket WHERE bucket = ANY(%s)", [shards.buckets]
    )
    assert left.fetchone() == (0,)
