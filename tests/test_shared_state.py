"""The shared state of all replicas: the counter and the session."""

from __future__ import annotations

from support.client import Site
from support.load import at_once
from support.settings import REPLICAS


def test_a_thousand_posts_fifty_at_a_time_add_exactly_a_thousand(site: Site) -> None:
    before = site.get("/counter/").json()["count"]
    answers = at_once(1000, 50, lambda _: site.post("/counter/"))
    assert {answer.status_code for answer in answers} == {200}
    counts = [answer.json()["count"] for answer in answers]
    assert sorted(counts) == list(range(before + 1, before + 1001))
    assert site.get("/counter/").json() == {"count": before + 1000}
    assert len({answer.headers["X-Served-By"] for answer in answers}) == REPLICAS


def test_the_counter_refuses_other_methods(site: Site) -> None:
    answer = site.request("DELETE", "/counter/")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_session_counts_its_visits_across_replicas(site: Site) -> None:
    replicas = set()
    with site.session() as browser:
        for visit in range(1, 31):
            answer = browser.get("/session/", headers={"Connection": "close"})
            assert answer.json() == {"visits": visit}
            replicas.add(answer.headers["X-Served-By"])
    assert len(replicas) == REPLICAS


def test_each_browser_has_a_session_of_its_own(site: Site) -> None:
    with site.session() as first, site.session() as second:
        assert first.get("/session/").json() == {"visits": 1}
        assert second.get("/session/").json() == {"visits": 1}
        assert first.get("/session/").json() == {"visits": 2}


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    cookie = site.get("/session/").headers["Set-Cookie"]
    attributes = [part.strip().lower() for part in cookie.split(";")]
    assert "httponly" in attributes
    assert "samesite=lax" in attributes
    assert "path=/" in attributes


def test_a_made_up_session_cookie_starts_a_new_session(site: Site) -> None:
    with site.session() as browser:
        browser.cookies.set("sessionid", "a" * 32)
        answer = browser.get("/session/")
        assert answer.json() == {"visits": 1}
        assert "a" * 32 not in answer.headers["Set-Cookie"]


def test_counter_and_session_are_never_kept_by_a_cache(site: Site) -> None:
    for path in ("/counter/", "/session/", "/health/"):
        assert "no-store" in site.get(path).headers["Cache-Control"], path
