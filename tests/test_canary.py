"""A canary release gets the share of requests of its weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support.client import Site
from support.front import Front
from support.restore import assert_at_rest
from support.settings import REPLICAS
from support.stack import Stack, run
from support.wait import eventually

pytestmark = pytest.mark.failure

REQUESTS = 600
SETTINGS = {"LB_METHOD": "weighted", "LB_UPSTREAMS": "web=3,web-canary=1"}


@pytest.fixture
def canary(stack: Stack) -> Iterator[Stack]:
    """The stack with a canary and the load balancer's settings for it; restored afterwards."""
    assert_at_rest(stack)
    front = Front(stack)
    profiles = ("--profile", stack.load_balancer, "--profile", "canary")
    try:
        run("docker", "compose", *profiles, "up", "--detach", "--wait", timeout=180)
        front.set(**SETTINGS)
        assert front.reload() == (0, "")
        yield stack
    finally:
        front.restore()
        restored = front.reload()
        run("docker", "compose", *profiles, "rm", "--stop", "--force", "web-canary", timeout=120)
    assert restored == (0, "")
    assert_at_rest(stack)


def test_a_canary_gets_its_share_and_no_more(canary: Stack) -> None:
    site = Site(canary.published(canary.load_balancer, 8080))

    def served(times: int) -> Counter[str | None]:
        return Counter(site.get("/counter/").headers.get("X-Served-By") for _ in range(times))

    eventually(
        f"answers of {REPLICAS} replicas and the canary",
        lambda: len(served(40)),
        lambda n: n == REPLICAS + 1,
        within=15,
    )
    seen = served(REQUESTS)
    share = sum(count for name, count in seen.items() if name and name.startswith("web-canary")) / REQUESTS
    expected = 1 / (REPLICAS * 3 + 1)
    assert expected / 2 < share < expected * 2, seen
