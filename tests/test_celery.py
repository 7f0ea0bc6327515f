"""Background work: one beat, workers, and a periodic task that does something."""

from __future__ import annotations

from datetime import datetime

import pytest
from support.probe import Probe
from support.settings import WRITER
from support.sql import connect
from support.stack import Stack
from support.wait import eventually

RESERVED = "SELECT count(*) FROM users_emaildirectory WHERE email = 'tests-abandoned@example.org'"
COUNT = "SELECT count(*) FROM django_session WHERE session_key = 'tests-expired-session'"


@pytest.mark.early("planted")
@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("database", "role", "rows"),
    [
        pytest.param("shop", "shop_app", COUNT, id="a session that has expired"),
        pytest.param("users", "users_app", RESERVED, id="an abandoned registration"),
    ],
)
def test_the_periodic_task_of_a_worker_deletes_expired_rows(probe: Probe, database: str, role: str, rows: str) -> None:
    eventually(
        "what was planted to be gone",
        lambda: probe.sql(WRITER, database, role, rows),
        lambda seen: seen == "0",
        within=90,
        interval=1,
    )


def test_the_worker_logs_what_it_did(stack: Stack) -> None:
    eventually(
        "a line of the periodic task in the worker's log",
        lambda: stack.logs("worker", tail=2000),
        lambda seen: "clear_expired_sessions" in seen or "expired sessions" in seen,
        within=90,
        interval=1,
    )


def test_there_is_one_beat(stack: Stack) -> None:
    assert len(stack.containers("beat")) == 1


def test_the_health_checks_of_workers_and_beat_pass(stack: Stack) -> None:
    for name, what in (("worker", "worker"), ("users-worker", "worker"), ("orders-worker", "worker"), ("beat", "beat")):
        stack.run_in(name, "healthcheck", what)


def test_a_worker_keeps_its_connections_between_tasks(stack: Stack) -> None:
    address = stack.container("users-worker").address("app")
    # The relay runs every five seconds; the watch of each process has its own connection.
    query = (
        "SELECT pid, query_start FROM pg_stat_activity"
        " WHERE client_addr = %s AND query NOT LIKE '%%pg_is_in_recovery%%' AND state = 'idle'"
    )
    with connect(stack, "main", "users", "users_app") as connection:

        def used() -> dict[int, datetime]:
            return dict(connection.execute(query, [address]).fetchall())

        first = eventually("a connection of the worker", used, bool, within=15)
        eventually(
            "a later task on the same connection",
            used,
            lambda seen: any(since > first[pid] for pid, since in seen.items() if pid in first),
            within=15,
        )
