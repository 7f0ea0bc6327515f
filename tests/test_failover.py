"""A frozen primary and an outage of the consensus store lose no acknowledged write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.probe import PSQL, Probe
from support.restore import cluster, is_whole, primary, roles
from support.settings import TIME_FACTOR, secret
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

FROZEN = 40.0  # seconds that the primary stands still: twice Patroni's lease
WITHOUT_ETCD = 60.0  # seconds
WRITES_BACK = 30.0  # seconds from the loss of the primary until a write succeeds
REJOINED = 60.0  # seconds until the old primary streams from the new one
PATIENCE = 4.0  # seconds until a refused write is answered, when a primary has just been lost


@contextlib.contextmanager
def counting(site: Site) -> Iterator[Load]:
    """POST to the counter during the block; then check that it has every acknowledged addition."""
    before = site.get("/counter/").json()["count"]
    with Load(site, ["/counter/"], method="POST", rate=10, threads=4) as posts:
        yield posts
    after = site.get("/counter/").json()["count"]
    assert posts.answered() <= after - before <= len(posts.outcomes), posts.summary()


def test_a_frozen_primary_is_replaced_and_takes_no_write_after_its_recovery(
    broken: Stack, site: Site, product: int, probe: Probe
) -> None:
    old = primary(broken)
    with (
        counting(site) as posts,
        Load(site, [f"/products/{product}/", "/search/?q=e", "/api/products/?q=e"], rate=30, threads=6) as reads,
    ):
        eventually("some requests", lambda: len(posts.outcomes) > 20, within=10)
        broken.pause(old)
        paused = posts.elapsed
        eventually(
            "writes on another node",
            lambda: any(not one.failed for one in posts.since(paused + 1)),
            within=WRITES_BACK,
        )
        eventually(
            "the old primary's lease to be long over", lambda: posts.elapsed - paused > FROZEN, within=FROZEN + 5
        )
        broken.start(old)
        # Ask the old one itself, as an application would that has not heard. It has no replica that
        # would confirm a write, and Patroni takes its role away: so none may be acknowledged.
        sql = "INSERT INTO stateless_counter (name, value) VALUES ('old primary', 1)"
        target = f"host={old} dbname=shop user=shop_app connect_timeout=2"
        for _ in range(5):
            command = ("timeout", "2", *PSQL, target, "-c", f"{sql} ON CONFLICT (name) DO UPDATE SET value = 0")
            said = probe.run(
                *command, "-c", "SELECT 'written'", check=False, environment={"PGPASSWORD": secret("db_shop_app")}
            )
            assert "authentication" not in said, said
            assert "written" not in said, f"{old} took a write though it is not the primary any more"
        eventually(f"{old} to stream", lambda: roles(broken), is_whole, within=REJOINED)
    assert primary(broken) != old
    refused = [one for one in posts.failures() if one.status == 503]
    assert max((one.seconds for one in refused), default=0) <= PATIENCE * TIME_FACTOR, posts.summary()
    assert_all_answered(reads)


def test_without_the_consensus_store_the_primary_stays_and_writes_continue(broken: Stack, site: Site) -> None:
    def timelines() -> set[tuple[str, int]]:
        return {(one["name"], one["timeline"]) for one in cluster(broken) if one["role"] == "leader"}

    leader = timelines()
    with counting(site) as posts:
        broken.stop("etcd")
        moment = posts.elapsed
        eventually("a minute without etcd", lambda: posts.elapsed - moment > WITHOUT_ETCD, within=WITHOUT_ETCD + 5)
        broken.start("etcd")
        eventually("etcd to be asked again", lambda: roles(broken), is_whole, within=30)
    assert_all_answered(posts)
    assert timelines() == leader
