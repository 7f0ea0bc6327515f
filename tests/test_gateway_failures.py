"""A service stops or hangs: other requests are unaffected, and the gateway detects its recovery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from support.client import Site, assert_problem
from support.load import Load, assert_all_answered, at_once
from support.probe import Probe
from support.prometheus import samples
from support.services import Person, Services
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

SECONDS = 12.0  # of each half
SITE = ("/", "/counter/", "/api/products/?limit=5", "/health/")
# Without the bulkhead the callers of a service that hangs take every thread, and most requests to
# the rest wait for seconds. How much slower the rest becomes is measured by `make bench
# NAME=bulkhead`.
LATE = 1.0


def wait_for(load: Load, seconds: float) -> float:
    """Let the load run for `seconds`; return the start of this period, in the load's time."""
    began = load.elapsed
    eventually(
        f"{seconds} s of load", lambda: load.elapsed - began, lambda gone: gone >= seconds, within=seconds * 2 + 5
    )
    return began


def states(stack: Stack, probe: Probe, service: str) -> Counter[float]:
    """Return the number of web processes by breaker state of `service`: 0 closed, 2 open."""
    found: Counter[float] = Counter()
    for replica in stack.containers("web"):
        text = probe.curl(f"http://{replica.address('app')}:8000/metrics")
        found.update(
            value for labels, value in samples(text, "gateway_breaker_state") if labels.get("service") == service
        )
    return found


def test_a_hung_service_delays_no_other_request(
    broken: Stack, site: Site, services: Services, person: Callable[[], Person]
) -> None:
    who = person()
    # Both that which hangs, and a service that calls it.
    paths = ("/api/orders/", f"/api/users/{who.id}/orders")
    with (
        Load(site, paths=SITE, rate=60, threads=6) as rest,
        Load(site, paths=paths, rate=30, threads=20, headers=who.headers) as callers,
        Load(site, paths=(f"/api/users/{who.id}",), rate=5, threads=2, headers=who.headers) as others,
    ):
        wait_for(rest, 2)
        began = wait_for(rest, SECONDS)
        well = [one for one in rest.since(began) if one.started < began + SECONDS]
        broken.pause("orders")
        hung = wait_for(rest, SECONDS)
        slow = rest.since(hung)
        called = callers.since(callers.elapsed - SECONDS + 2)
        beside = others.since(others.elapsed - SECONDS + 2)
        broken.start("orders")
    assert_all_answered(rest)
    assert len(well) > SECONDS * 20 / TIME_FACTOR
    assert len(slow) > SECONDS * 20 / TIME_FACTOR
    assert {one.status for one in called if one.path == paths[0]} <= {503, 504}, callers.summary()
    through = Counter(one.status for one in called if one.path == paths[1])
    assert through[200] > 0.9 * through.total(), f"users without their orders: {through}"
    # Two busy cores make users slow at times, and what is slow is refused to some.
    assert sum(not one.failed for one in beside) > 0.9 * len(beside), others.summary()
    late = [one for one in slow if one.seconds > LATE * TIME_FACTOR]
    assert len(late) <= len(slow) / 20, rest.summary()


def test_the_breaker_opens_when_a_service_fails_and_closes_after_its_recovery(
    broken: Stack, site: Site, probe: Probe
) -> None:
    def ask(_: int = 0) -> int:
        return site.get("/api/orders/").status_code  # without a token: 401 by the service itself

    def asked() -> Counter[float]:
        at_once(48, 12, ask)  # several at once: of one after the other a replica's first process may take each
        return states(broken, probe, "orders")

    eventually("every breaker to be closed", asked, lambda seen: set(seen) == {0.0}, within=30)
    broken.stop("orders")
    eventually("every breaker to be open", asked, lambda seen: set(seen) == {2.0}, within=30)
    answer = site.get("/api/orders/")
    assert_problem(answer, 503)
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    assert answer.elapsed.total_seconds() < 0.5 * TIME_FACTOR
    broken.start("orders")
    eventually("the service to answer again", ask, lambda status: status == 401, within=30)
    eventually("every breaker to be closed", asked, lambda seen: set(seen) == {0.0}, within=30)
