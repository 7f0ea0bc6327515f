"""The cache as a Redis Cluster: the loss of a primary under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.overlay import overlay
from support.probe import Probe
from support.restore import everywhere_healthy, health
from support.settings import REPLICAS, TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

NODES = ["redis-cache", *(f"redis-cache-{number}" for number in range(2, 7))]
CLOCK = ":1:{caching}:clock"
LOWER = 10.0  # seconds for which pages may be recomputed
PAGES = 20


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[Stack]:
    """The stack, whose replicas of web have the cluster for a cache."""
    with overlay(stack, "redis-cluster", NODES, ["web"]):
        yield stack


@pytest.fixture
def front(cluster: Stack) -> Site:
    """The site in front of it."""
    site = Site(cluster.published(cluster.load_balancer, 8080))
    eventually(
        "every replica healthy",
        lambda: everywhere_healthy(cluster),
        lambda seen: seen == ["healthy"] * REPLICAS,
        within=30,
    )
    eventually("a healthy answer", lambda: health(site)["status"], lambda seen: seen == "healthy", within=30)
    return site


def ask(probe: Probe, node: str, *command: str) -> str:
    return probe.redis(node, *command)


def primary_of(probe: Probe, key: str) -> str:
    """Return the node that serves `key`."""
    for node in NODES:
        if ask(probe, node, "EXISTS", key) in {"0", "1"} and "role:master" in ask(probe, node, "INFO", "replication"):
            return node
    return ""


class Pages(threading.Thread):
    """A reader of some pages in turn, which records when one was computed."""

    def __init__(self, site: Site, paths: list[str]) -> None:
        super().__init__(daemon=True)
        self.began = time.monotonic()
        self.seen: list[tuple[float, str]] = []
        self._site, self._paths, self._stop = site, paths, threading.Event()

    def run(self) -> None:
        with self._site.session() as browser:
            while not self._stop.is_set():
                for path in self._paths:
                    moment = time.monotonic()
                    answer = browser.get(path)
                    self.seen.append((moment, answer.headers.get("X-Cache", "")))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.join()

    def computed(self, since: float, until: float = float("inf")) -> int:
        """Return the number of computed pages among the requests between two moments."""
        return sum(what == "MISS" for moment, what in self.seen if since <= moment < until)


def test_keys_are_on_all_primaries_and_each_has_a_replica(front: Site, probe: Probe) -> None:
    with front.session() as browser:
        for visit in range(1, 4):
            assert browser.get("/session/").json() == {"visits": visit}
    for _ in range(60):
        assert front.get("/session/").json() == {"visits": 1}
    roles = [ask(probe, node, "INFO", "replication") for node in NODES]
    assert sum("role:master" in role and "connected_slaves:1" in role for role in roles) == 3
    sizes = [int(ask(probe, node, "DBSIZE")) for node, role in zip(NODES, roles, strict=True) if "role:master" in role]
    assert min(sizes) > 0


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_the_loss_of_a_primary_fails_no_request_and_the_cache_recovers(
    cluster: Stack, front: Site, probe: Probe, how: str
) -> None:
    items = front.get(f"/api/products/?limit={PAGES}").json()["items"]
    paths = [f"/products/{one['id']}/" for one in items]
    with Pages(front, paths) as pages:
        started = time.monotonic()
        eventually(
            "the pages to be in the cache",
            lambda: pages.computed(time.monotonic() - 2) == 0 and time.monotonic() - started > 4,
            within=30,
        )
        victim = primary_of(probe, CLOCK)  # without it every page is recomputed
        with front.session() as browser, Load(front, ["/", "/session/", "/counter/", *paths[:3]], rate=30) as load:
            visits = browser.get("/session/").json()["visits"]
            getattr(cluster, how)(victim)
            lost = time.monotonic()
            eventually(
                "another primary", lambda: primary_of(probe, CLOCK), lambda seen: seen not in {"", victim}, within=LOWER
            )
            for more in range(1, 6):
                assert browser.get("/session/").json() == {"visits": visits + more}
            # Not scaled: what has hung for longer needs longer until it answers again.
            eventually(f"{LOWER + 4} s", lambda: time.monotonic() - lost > LOWER + 4, within=LOWER + 6)
        cluster.start(victim)
        eventually(
            "the pages to be read for longer than they may be computed",
            lambda: time.monotonic() - lost > LOWER * TIME_FACTOR + 4,
            within=LOWER + 6,
        )
    assert_all_answered(load)
    assert pages.computed(lost) > 0, "the test lost something that mattered"
    late = pages.computed(lost + LOWER * TIME_FACTOR)
    assert late == 0, f"{late} pages computed later than {LOWER} s after the loss"
    eventually(
        "the lost node to follow",
        lambda: ask(probe, victim, "INFO", "replication"),
        lambda seen: "master_link_status:up" in seen,
        within=40,  # a server that is stuck for good is ended after twelve seconds (redis/cluster-keeper)
    )


def test_a_node_with_a_hung_server_restarts_it_and_becomes_a_replica(cluster: Stack, probe: Probe) -> None:
    victim = primary_of(probe, CLOCK)
    # The server alone: its keeper continues, as when the server loops for ever.
    cluster.run_in(victim, "sh", "-c", "kill -STOP $(pidof redis-server redis-check-rdb)")
    eventually(
        "the node to follow another one",
        lambda: ask(probe, victim, "INFO", "replication"),
        lambda seen: "master_link_status:up" in seen,
        within=40,
    )
