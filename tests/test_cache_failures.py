"""Cache outages: no request fails, pages are slow only for a moment, and stale only to the cap."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.prices import Prices, change
from support.restore import health
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

CAP = 2.0  # seconds: caching.ledger.CAP
SKEW = 0.5  # seconds: the test times a change and its reads from outside


def restart(stack: Stack) -> None:
    stack.kill("redis-cache")
    time.sleep(3.0)  # duration of the outage
    stack.start("redis-cache")


def pause(stack: Stack) -> None:
    stack.pause("redis-cache")
    time.sleep(3.0)  # duration of the outage; Redis keeps its values
    stack.start("redis-cache")


@pytest.mark.parametrize("interrupt", [restart, pause])
def test_with_the_cache_interrupted_no_page_is_older_than_the_cap(
    broken: Stack, site: Site, interrupt: Callable[[Stack], None]
) -> None:
    items = site.get("/api/products/?limit=10").json()["items"]
    prices = Prices(site, [one["id"] for one in items])
    with prices.read():
        stopping = threading.Thread(target=interrupt, args=[broken])
        for number, product in zip(range(400), itertools.cycle(prices.products), strict=False):
            if number == 100:
                stopping.start()
            change(site, product, 20_000_000 + number)
            prices.note(product, 20_000_000 + number)
            time.sleep(0.02)  # prices change all the time
        stopping.join()
        time.sleep(2 * CAP)  # to also read the last changes after a while
    for one in items:
        change(site, one["id"], one["price"]["amount"])
    assert not prices.errors, prices.errors[:5]
    assert not prices.old(CAP + SKEW), prices.old(CAP + SKEW)[:10]


def test_without_the_cache_no_request_fails_and_pages_do_not_wait_for_it(
    broken: Stack, site: Site, product: int
) -> None:
    with Load(site, ["/", f"/products/{product}/", "/api/products/"], rate=40) as load:
        eventually("200 requests before", lambda: len(load.outcomes) > 200, within=20)
        gone = load.elapsed
        broken.kill("redis-cache")
        time.sleep(10.0)  # duration of the outage
        back = load.elapsed
        broken.start("redis-cache")
        eventually("healthy again", lambda: health(site)["status"], lambda seen: seen == "healthy", within=20)
    assert_all_answered(load)

    # A page reads the cache several times: without the breaker each read would cost a time-out.
    without = [one for one in load.outcomes if gone <= one.started < back]
    late = [one for one in without if one.seconds > 1.0 * TIME_FACTOR]
    assert len(late) <= len(without) / 20, load.summary()
