"""`/health/` and `/health/live`."""

from __future__ import annotations

from support.client import Site
from support.load import at_once
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually


def test_health_is_healthy(site: Site) -> None:
    healthy = {"status": "healthy", "database": "ok", "cache": "ok"}
    answer = eventually(
        "healthy",
        lambda: site.get("/health/"),
        lambda seen: (seen.status_code, seen.json()) == (200, healthy),
        within=10,
    )
    assert answer.headers["Content-Type"] == "application/json"


def test_live_answers_while_the_process_does(site: Site) -> None:
    assert site.get("/health/live").status_code == 200


def test_health_is_never_slower_than_a_second_even_twenty_at_a_time(site: Site) -> None:
    answers = at_once(300, 20, lambda _: site.get("/health/"))
    assert {answer.status_code for answer in answers} == {200}
    assert max(answer.elapsed.total_seconds() for answer in answers) < 1.0 * TIME_FACTOR


def test_every_replica_is_healthy_by_itself(stack: Stack) -> None:
    command = ("curl", "-fsS", "--max-time", "1", "http://127.0.0.1:8000/health/")
    for replica in stack.containers("web"):
        eventually(
            f"{replica.name} to be healthy",
            lambda one=replica: stack.run_in(one, *command),  # type: ignore[misc]
            lambda said: '"healthy"' in said,
            within=10,
        )
