"""One of the web replicas is restarted, dies or hangs, under load."""

from __future__ import annotations

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.settings import TIME_FACTOR
from support.stack import Stack, run
from support.wait import eventually

pytestmark = pytest.mark.failure

LONGEST_WAIT = 3.0  # longest wait of a caller in seconds, also during a failure
GIVEN_UP = 1.9  # seconds: a request that took longer had waited for the replica that hangs
OUT = 5.0  # seconds until the load balancer sends nothing to a replica that hangs


def running_for(load: Load, seconds: float, since: float = 0.0) -> None:
    """Wait until the load has run for `seconds` after `since`."""
    eventually(f"{seconds:.0f} s of load", lambda: load.elapsed - since >= seconds, within=seconds + 1, interval=0.05)


def test_restarting_a_replica_under_load_loses_no_request(broken: Stack, site: Site, product: int) -> None:
    before = site.get("/counter/").json()["count"]
    gets = Load(site, ["/", f"/products/{product}/", "/session/"], rate=80, threads=6)
    posts = Load(site, ["/counter/"], method="POST", rate=40, threads=4)
    victim = broken.containers("web")[0]
    with gets, posts:
        eventually(f"an answer of {victim.name}", lambda: victim.name in gets.replicas(), within=5)
        run("docker", "restart", victim.id, timeout=60)
        back = gets.elapsed
        eventually(f"{victim.name} to answer again", lambda: victim.name in gets.replicas(back), within=15)
        running_for(gets, 2, since=back)
    assert_all_answered(gets, posts)
    assert site.get("/counter/").json()["count"] - before == posts.answered()


def test_a_replica_that_is_killed_costs_at_most_one_get_in_a_thousand(broken: Stack, site: Site, product: int) -> None:
    before = site.get("/counter/").json()["count"]
    gets = Load(site, ["/", f"/products/{product}/", "/counter/"], rate=120, threads=8)
    posts = Load(site, ["/counter/"], method="POST", rate=20, threads=2)
    victim = broken.containers("web")[1]
    with gets, posts:
        running_for(gets, 2)
        broken.signal(victim, "KILL")
        killed = gets.elapsed
        eventually("1,000 GETs", lambda: len(gets.outcomes) >= 1000, within=30)
        assert victim.name not in gets.replicas(since=killed + 1)
    assert len(gets.failures()) <= len(gets.outcomes) / 1000, gets.summary()
    assert max(one.seconds for one in gets.outcomes) <= LONGEST_WAIT * TIME_FACTOR, gets.summary()
    # A POST whose replica died has been counted or not; one that was answered has been counted
    # once.
    assert posts.answered() <= site.get("/counter/").json()["count"] - before <= len(posts.outcomes)


def test_a_replica_that_hangs_delays_no_client_and_is_removed_within_five_seconds(
    broken: Stack, site: Site, product: int
) -> None:
    before = site.get("/counter/").json()["count"]
    gets = Load(site, ["/", f"/products/{product}/", "/counter/"], rate=100, threads=8)
    posts = Load(site, ["/counter/"], method="POST", rate=20, threads=4)
    victim = broken.containers("web")[0]
    with gets, posts:
        running_for(gets, 2)
        frozen = gets.elapsed
        broken.freeze(victim)
        running_for(gets, OUT * TIME_FACTOR + 5, since=frozen)
        broken.thaw(victim)
        thawed = gets.elapsed
        eventually(f"{victim.name} to answer again", lambda: victim.name in gets.replicas(thawed), within=15)
    for load in (gets, posts):
        assert max(one.seconds for one in load.outcomes) <= LONGEST_WAIT * TIME_FACTOR, load.summary()
        later = load.since(frozen + OUT * TIME_FACTOR)
        slow = [one for one in later if one.failed or (one.seconds > GIVEN_UP and one.started < thawed)]
        assert not slow, load.summary()
    assert len(gets.failures()) <= len(gets.outcomes) / 1000, gets.summary()
    # A POST that timed out may be counted when the replica continues; none is counted twice.
    assert posts.answered() <= site.get("/counter/").json()["count"] - before <= len(posts.outcomes)
