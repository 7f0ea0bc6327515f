"""The application on a real Redis Cluster, of which nodes are killed and frozen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache as any_cache
from django.core.cache import caches
from django.test import Client
from django_redis import get_redis_connection
from pytest_django import Settings
from scaleout.caching import cluster as clusters
from scaleout.caching.tests.conftest import Cluster as Workers
from scaleout.caching.tests.conftest import Worker
from scaleout.gateway.edge.rate import Rate
from scaleout.health.probes import CacheProbe
from scaleout.identity.throttle import Limit, attempt, forget
from waiting import TIME_FACTOR, in_time

from config.tests.redis_cluster import PASSWORD, Node, RedisCluster, eventually
from redis import RedisError

cache: Any = any_cache  # django-redis has methods besides Django's
CLOCK = ":1:{caching}:clock"
TAG = ":1:{caching}:tag:thing"
MANY = {f"key {number}": number for number in range(100)}
FAILOVER = 10.0  # seconds: the node's time-out is 1


@pytest.fixture(scope="module")
def nodes() -> Iterator[RedisCluster]:
    """A cluster for the tests of this file. A test puts right what it has broken."""
    found = RedisCluster()
    yield found
    found.end()


@pytest.fixture
def cluster(nodes: RedisCluster, settings: Settings) -> RedisCluster:
    """The cluster, as what `default` and `limits` lead to."""
    nodes.empty()
    use(settings, nodes.urls)
    return nodes


@pytest.fixture
def patient(nodes: RedisCluster, settings: Settings) -> RedisCluster:
    """The same for what is about no slow node: none is, though all cores may be busy."""
    nodes.empty()
    use(settings, nodes.urls, SOCKET_TIMEOUT=5.0, SOCKET_CONNECT_TIMEOUT=5.0)
    return nodes


def use(settings: Settings, urls: list[str], **options: float) -> None:
    clusters._shelf.forget()
    given = {"CLIENT_CLASS": "scaleout.caching.cluster.ClusterClient", "PASSWORD": PASSWORD} | options
    settings.CACHES = settings.CACHES | {
        alias: {**before, "LOCATION": urls, "OPTIONS": before["OPTIONS"] | given}
        for alias in ("default", "limits")
        if (before := settings.CACHES[alias])
    }


def homes(found: RedisCluster, keys: list[str]) -> set[int]:
    return {home.port for key in keys if (home := found.home(f":1:{key}"))}


def primary(found: RedisCluster, key: str) -> Node:
    node = found.home(key)
    assert node is not None
    return node


def taken_over(found: RedisCluster, key: str, victim: Node) -> Node:
    eventually(lambda: found.home(key) not in {None, victim}, FAILOVER, "its replica to take over")
    return primary(found, key)


def replicated(node: Node) -> None:
    """Wait until the replica of this primary has what it has: a failover loses the rest."""

    def has_all() -> bool:
        with node.client as client:
            said: Any = client.info("replication")
        return bool(said["slave0"]["offset"] >= said["master_repl_offset"])

    eventually(has_all, FAILOVER, "the replica to have all that its primary has")


def test_many_keys_at_once_are_read_written_and_deleted_wherever_they_are(patient: RedisCluster) -> None:
    cache.set_many(MANY, timeout=60)
    assert len(homes(patient, list(MANY)[:20])) == 3
    assert cache.get_many([*MANY, "missing"]) == MANY
    assert cache.delete_many(list(MANY)[:50]) == 50
    assert cache.get_many(list(MANY)) == {key: number for key, number in MANY.items() if number >= 50}
    assert cache.delete_pattern("key *") == 50
    assert cache.get_many(list(MANY)) == {}


def test_the_rest_of_the_cache_api_works(patient: RedisCluster) -> None:
    assert cache.add("one", 1, 60)
    assert not cache.add("one", 2, 60)
    assert cache.incr("one") == 2
    assert cache.touch("one", 30)
    assert 0 < cache.ttl("one") <= 30
    assert cache.has_key("one")
    with cache.lock("lock", timeout=5):
        assert not cache.lock("lock", blocking=False).acquire()
    assert cache.get_or_set("two", lambda: "made", 60) == "made"
    assert sorted(cache.iter_keys("*o*")) == ["one", "two"]
    cache.set("three", "gone", 0)
    assert cache.delete("one")
    assert cache.get("one") is None
    cache.clear()
    assert cache.get("two") is None


def test_a_mistake_is_not_taken_for_a_cache_that_is_away(patient: RedisCluster) -> None:
    with pytest.raises(Exception, match="same key slot"):
        get_redis_connection("default").sunion("a", "b")


def test_all_threads_of_a_process_share_the_connections(cluster: RedisCluster) -> None:
    first = get_redis_connection("default")
    del caches["default"]  # as another thread has a cache of its own
    assert get_redis_connection("default") is first
    assert get_redis_connection("limits") is not first


def test_attempts_and_callers_are_counted_on_whichever_node(patient: RedisCluster) -> None:
    few = Limit("few", 2, 60)
    subjects = [[(few, f"user {number}"), (few, f"address {number}")] for number in range(10)]
    for subject in subjects:
        assert [attempt(*subject) > 0 for _ in range(3)] == [False, False, True]
    forget(subjects[0])
    assert attempt(*subjects[0]) == 0
    rate = Rate(2, 60, lambda: get_redis_connection("limits"))
    for number in range(10):
        assert [quota.allowed for _ in range(3) if (quota := rate.take(f"caller {number}"))] == [True, True, False]


@pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])
def test_sessions_are_kept_and_survive_a_primary(cluster: RedisCluster) -> None:
    browsers = [Client() for _ in range(12)]
    for browser in browsers:
        assert browser.get("/session/").json() == {"visits": 1}
    victim = primary(cluster, "anything")
    victim.kill()
    visits = 2
    for browser in browsers:
        assert browser.get("/session/").json() == {"visits": visits}
    taken_over(cluster, "anything", victim)
    victim.start()
    cluster.whole()
    for browser in browsers:
        assert browser.get("/session/").json() == {"visits": visits + 1}


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_primary_that_is_lost_raises_nothing_and_its_replica_takes_over(cluster: RedisCluster, how: str) -> None:
    cache.set_many(MANY, timeout=60)
    probe = CacheProbe()
    probe()
    victim = primary(cluster, "anything")
    replicated(victim)
    getattr(victim, how)()
    with pytest.raises(RedisError):
        probe()
    until = time.monotonic() + FAILOVER * TIME_FACTOR
    while len(got := cache_of_all()) < len(MANY):
        assert time.monotonic() < until, f"{len(got)} of {len(MANY)}"
        cache.set("key 0", 0, 60)
    eventually(partial(answers, probe), FAILOVER, "every primary to answer")
    victim.start() if how == "kill" else victim.thaw()
    cluster.whole()
    assert cache.get_many(list(MANY)) == MANY


def answers(probe: CacheProbe) -> bool:
    probe()
    return True


def cache_of_all() -> dict[str, Any]:
    return {key: value for key in MANY if (value := cache.get(key)) is not None}


def test_with_no_node_there_a_call_costs_what_one_time_out_costs(settings: Settings) -> None:
    use(settings, ["redis://127.0.0.1:1", "redis://127.0.0.1:2"])
    with in_time():  # each of the 600 with a time-out of its own would take minutes
        for _ in range(200):
            assert cache.get("one", "default") == "default"
            assert cache.get_many(["one", "two"]) == {}
            assert cache.set("one", 1) is None
    with pytest.raises(RedisError):
        CacheProbe()()
    assert attempt((Limit("few", 1, 60), "user")) == 0


def test_with_every_node_frozen_not_every_call_looks_for_one_that_answers(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.set("one", 1, 60)
    client: Any = get_redis_connection("default")
    calls, looks, fetch = 0, [], client._fetch

    def counted(**how: Any) -> None:
        looks.append(how)
        fetch(**how)

    monkeypatch.setattr(client, "_fetch", counted)
    for node in cluster.nodes:
        node.freeze()
    until = time.monotonic() + 10.0 * TIME_FACTOR
    while calls < 5 or not 0 < len(looks) < calls:
        assert time.monotonic() < until, f"{calls} calls looked {len(looks)} times"
        with in_time():
            assert cache.get("one") is None
        calls += 1
    for node in cluster.nodes:
        node.thaw()
    cluster.whole()
    eventually(lambda: cache.get("one") == 1, FAILOVER, "the cache to be used again")


# ── the two-level cache ───────────────────────────────────────────────────────────────────────────
class Two(Workers):
    """Processes that share the cluster."""

    def __init__(self, folder: Path, nodes: RedisCluster) -> None:
        self.nodes = nodes
        super().__init__(folder)

    def start(self) -> None:
        """Start nothing: the cluster is there."""

    def spawn(self, number: int = 1, *, patience: float = TIME_FACTOR, **environment: str) -> Any:
        """Start processes, and wait until they listen."""
        ours = {"DJANGO_SETTINGS_MODULE": "config.tests.cluster_settings", "CLUSTER_URLS": ",".join(self.nodes.urls)}
        return super().spawn(number, patience=patience, **ours, **environment)

    def end(self) -> None:
        """Stop the processes."""
        for worker in self.workers:
            worker.kill()


@pytest.fixture
def two(nodes: RedisCluster, tmp_path: Path) -> Iterator[Two]:
    nodes.empty()
    found = Two(tmp_path, nodes)
    found.put("old")
    yield found
    found.end()


def shows(worker: Worker, text: str) -> bool:
    return worker.value() == text


def uses_redis(worker: Worker) -> bool:
    return worker.do("breaker") is False


def test_what_one_process_changes_no_other_shows_old(two: Two) -> None:
    workers = two.spawn(3)
    for trial in range(30):
        text = f"price {trial}"
        workers[trial % 3].do("change", text)
        assert workers[trial % 3].value() == text, "its own change"
        for worker in workers:
            eventually(partial(shows, worker, text), 1.0, text)
    assert two.computed <= 61, "they share values"


def test_while_the_node_of_the_clock_is_lost_calls_go_on_and_nothing_old_is_shown_beyond_the_cap(two: Two) -> None:
    one, other = two.spawn(2)
    one.do("change", "before")
    assert other.value() == "before"
    victim = primary(two.nodes, CLOCK)
    victim.kill()
    began, trial = time.monotonic(), 0
    while time.monotonic() - began < 8.0:
        trial += 1
        one.do("change", f"price {trial}")
        assert one.value() == f"price {trial}"
        eventually(partial(shows, other, f"price {trial}"), 2.5, "the change within the cap")
        with in_time():
            other.do("call")
    for worker in (one, other):
        eventually(partial(uses_redis, worker), FAILOVER, "the cache to be used again")
    assert two.nodes.home(CLOCK) is not victim
    before = two.computed
    one.do("change", "after")
    eventually(partial(shows, other, "after"), 1.0, "messages to come again")
    assert {one.value(), other.value()} == {"after"}
    assert two.computed - before <= 2, "they share values again"
    victim.start()
    two.nodes.whole()


def test_an_invalidation_that_a_failover_has_lost_makes_no_old_value_right_again(two: Two) -> None:
    (one,) = two.spawn()
    assert one.value() == "old"
    clock = primary(two.nodes, CLOCK)
    with clock.client as client:
        before = {name: client.get(name) for name in (CLOCK, TAG, ":1:{caching}:tag:*", ":1:{caching}:tag:=value")}
    assert all(before.values())
    one.kill()
    replicated(clock)
    two.workers.clear()
    two.put("new")  # written to a primary that is lost before its replica has the write
    clock.kill()
    with taken_over(two.nodes, CLOCK, clock).client as client:
        assert {name: client.get(name) for name in before} == before
    clock.start()
    two.nodes.whole()
    (third,) = two.spawn()
    assert third.value() == "new"
