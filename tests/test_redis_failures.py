"""Outages of Redis: the site loses only speed."""

from __future__ import annotations

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.restore import health
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

DEGRADED = {"status": "degraded", "database": "ok", "cache": "error"}
HEALTHY = {"status": "healthy", "database": "ok", "cache": "ok"}


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_without_the_cache_pages_and_sessions_continue_and_health_is_degraded(
    broken: Stack, site: Site, product: int, how: str
) -> None:
    with site.session() as browser:
        assert browser.get("/session/").json() == {"visits": 1}
        with Load(
            site, ["/", f"/products/{product}/", "/api/products/?limit=5", "/session/", "/health/"], rate=40
        ) as load:
            getattr(broken, how)("redis-cache")
            for replica in range(2):  # by more than one replica
                eventually(f"degraded ({replica})", lambda: health(site), lambda seen: seen == DEGRADED, within=10)
            answer = site.get("/health/")
            assert answer.status_code == 200
            visits = [browser.get("/session/").json()["visits"] for _ in range(10)]
            assert visits == list(range(2, 12))
            broken.start("redis-cache")
            eventually("healthy again", lambda: health(site), lambda seen: seen == HEALTHY, within=15)
        assert browser.get("/session/").json() == {"visits": 12}
    assert_all_answered(load)
    slowest = max(one.seconds for one in load.outcomes if one.path == "/health/")
    assert slowest <= 1.0 * TIME_FACTOR, load.summary()


def test_a_session_survives_an_empty_cache(broken: Stack, site: Site) -> None:
    with site.session() as browser:
        for visit in (1, 2, 3):
            assert browser.get("/session/").json() == {"visits": visit}
        broken.kill("redis-cache")
        broken.start("redis-cache")
        eventually("healthy again", lambda: health(site), lambda seen: seen == HEALTHY, within=15)
        assert browser.get("/session/").json() == {"visits": 4}


def test_without_the_queue_the_site_continues(broken: Stack, site: Site, product: int) -> None:
    with Load(
        site, ["/", f"/products/{product}/", "/api/products/?limit=5", "/session/", "/counter/"], rate=40
    ) as load:
        broken.stop("redis-queue")
        eventually("150 requests without the queue", lambda: len(load.outcomes) > 150, within=10)
    assert_all_answered(load)
