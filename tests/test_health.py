"""`/health/` and `/health/live`."""

from __future__ import annotations

from support.client import Site
from support.load import at_once
from support.settings import TIME_FACTOR
from support.stack import Stack


def test_health_is_healthy(site: Site) -> None:
    answer = site.get("/health/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"status": "healthy", "database": "ok", "cache": "ok"}


def test_live_answers_while_the_process_does(site: Site) -> None:
    assert site.get("/health/live").status_code == 200


def test_health_is_never_slower_than_a_second_even_twenty_at_a_time(site: Site) -> None:
    answers = at_once(300, 20, lambda _: site.get("/health/"))
    assert {answer.status_code for answer in answers} == {200}
    assert max(answer.elapsed.total_seconds() for answer in answers) < 1.0 * TIME_FACTOR


def test_every_replica_is_healthy_by_itself(stack: Stack) -> None:
    for replica in stack.containers("web"):
        answer = stack.run_in(replica, "curl", "-fsS", "--max-time", "1", "http://127.0.0.1:8000/health/")
        assert '"healthy"' in answer, replica.name
