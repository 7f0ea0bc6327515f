"""Scaling out and in with one command, under load."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.services import Person, Services, place
from support.settings import REPLICAS, TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

SERVING = 15.0  # seconds from the command until a new replica has answered a request
FOLLOWED = 5.0  # seconds until the load balancer uses exactly the existing replicas


def count(site: Site) -> int:
    """Return the counter."""
    return int(site.get("/counter/").json()["count"])


def first_answers(load: Load, since: float) -> dict[str, float]:
    """Return how long after `since` each replica first answered."""
    found: dict[str, float] = {}
    for one in sorted(load.since(since), key=lambda outcome: outcome.started):
        if one.replica:
            found.setdefault(one.replica, one.started + one.seconds - since)
    return found


def test_scaling_to_six_and_then_to_two_under_load_loses_no_request_and_repeats_no_post(
    broken: Stack, site: Site, product: int
) -> None:
    before = count(site)
    pages = Load(site, ["/", f"/products/{product}/", "/counter/", "/session/"], rate=30, threads=4)
    singles = Load(site, ["/api/products/?limit=5"], rate=10, threads=2, keepalive=False)
    posts = Load(site, ["/counter/"], method="POST", rate=20, threads=3)
    loads = (pages, singles, posts)
    with pages, singles, posts:
        eventually("all replicas to answer", lambda: pages.replicas() == broken.replica_names(), within=10)

        started = pages.elapsed
        broken.scale(6)
        wanted = broken.replica_names()
        assert len(wanted) == 6
        eventually(
            f"answers of {sorted(wanted)}",
            lambda: first_answers(pages, started),
            lambda s: s.keys() >= wanted,
            within=30,
        )
        late = {name: took for name, took in first_answers(pages, started).items() if took > SERVING * TIME_FACTOR}
        assert not late, f"seconds until a new replica answered: {late}"

        broken.scale(2)
        left = broken.replica_names()
        assert len(left) == 2
        moment = pages.elapsed
        eventually("some seconds with two replicas", lambda: pages.elapsed - moment > FOLLOWED, within=FOLLOWED + 2)
        assert pages.replicas(since=moment) == left
        assert posts.replicas(since=moment) == left
    assert_all_answered(*loads)
    assert count(site) - before == posts.answered()


def test_the_load_balancer_adds_a_replica_within_five_seconds_of_its_health(broken: Stack, site: Site) -> None:
    with Load(site, ["/counter/"], rate=60) as load:
        broken.scale(REPLICAS + 1)
        new = broken.containers("web")[-1]
        eventually(
            f"{new.name} to be healthy by itself",
            lambda: broken.run_in(new, "curl", "-fsS", "--max-time", "1", "http://127.0.0.1:8000/health/"),
            within=SERVING,
        )
        eventually(f"an answer of {new.name}", lambda: new.name in load.replicas(), within=FOLLOWED)
    assert_all_answered(load)


def test_a_service_scales_out_and_in_under_orders_and_loses_none(
    broken: Stack, services: Services, person: Callable[[], Person], product: int
) -> None:
    who, stop = person(), threading.Event()
    statuses: Counter[int] = Counter()

    def buy(buyer: int) -> None:
        number = 0
        while not stop.wait(0.1):
            answer = place(services, who, f"{buyer}-{number}", [{"product_id": product, "quantity": 1}])
            statuses[answer.status_code] += 1
            number += 1

    def took() -> set[str]:
        """Return which replicas have placed orders."""
        lines = broken.logs("orders", tail=2000).splitlines()
        return {line.split(" | ")[0] for line in lines if "POST /api/orders/ 201" in line}

    buyers = [threading.Thread(target=buy, args=[number]) for number in range(3)]
    for one in buyers:
        one.start()
    try:
        broken.scale(3, "orders")
        eventually("orders placed by three replicas", took, lambda names: len(names) == 3, within=30)
        before = statuses.total()
        broken.scale(1, "orders")
        eventually("some orders more", statuses.total, lambda total: total > before + 20, within=30)
    finally:
        stop.set()
        for one in buyers:
            one.join()
    assert len(broken.containers("orders")) == 1
    assert set(statuses) == {201}, statuses
    placed, cursor = 0, ""
    while cursor is not None:
        page = services.orders.get(
            f"/api/orders/?limit=200{cursor and '&cursor=' + cursor}", headers=who.headers
        ).json()
        placed, cursor = placed + len(page["items"]), page["next"]
    assert placed == statuses[201]
