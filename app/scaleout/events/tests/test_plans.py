"""What the relay and the metrics look at does not grow with the backlog, whatever the statistics
say of the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from waiting import eventually

from scaleout.events import measuring, metrics, statements
from scaleout.events.outbox import Want
from scaleout.events.relay import NO_CONSUMER, park_strays
from scaleout.events.tests.conftest import HANDLE

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])
OTHER = "elsewhere.tasks.handle"
BACKLOG = 12_000
FILL = """
    INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, due_at, sends)
    SELECT gen_random_uuid(), 'happened', 'one:' || mod(number, %(aggregates)s), %(consumer)s, '{}',
           now() - interval '1 hour' + number * interval '1 ms', 0
      FROM generate_series(1, %(count)s) AS number
"""


def ask(sql: str, values: Any = None) -> list[Any]:
    with connections["default"].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def fill(consumer: str, count: int, aggregates: int = 1_000_000) -> None:
    ask(FILL, {"consumer": consumer, "count": count, "aggregates": aggregates})


@pytest.fixture(params=["none", "of another time"], autouse=True)
def _statistics(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """A backlog of one consumer; and no statistics, or those of a time when the table held events
    of the other one.
    """
    ask("ALTER TABLE events_outbox SET (autovacuum_enabled = off)")
    if request.param != "none":
        fill(HANDLE, 2000, aggregates=3)
        ask("SELECT pg_stat_force_next_flush()")  # else these rows are counted once more after ANALYZE
        ask("ANALYZE events_outbox")
        ask("DELETE FROM events_outbox")
    fill(OTHER, BACKLOG)
    yield
    ask("ALTER TABLE events_outbox RESET (autovacuum_enabled)")
    ask("DELETE FROM events_outbox")
    ask("VACUUM ANALYZE events_outbox")


def rows(node: dict[str, Any]) -> float:
    """Return how many rows the nodes of a plan have looked at."""
    looked = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    return float(looked * node["Actual Loops"]) + sum(rows(one) for one in node.get("Plans", []))


def looked_at(sql: str, values: Any = None) -> float:
    """Run a statement as the relay does, roll it back, and return how many rows it has looked
    at.
    """
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute(statements.BY_INDEX)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values)
        (plan,) = cursor.fetchone()
        transaction.set_rollback(True)
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return rows(plan[0]["Plan"])


def claim_of(*wants: Want) -> float:
    values = {
        "consumers": [one.consumer for one in wants],
        "bulks": [one.bulk for one in wants],
        "limits": [one.limit for one in wants],
        "taken": [one.taken for one in wants],
        "heard": [one.heard for one in wants],
        "ago": 0.0,
    }
    return looked_at(statements.CLAIM, values)


def test_a_claim_looks_at_as_many_rows_as_it_may_send_however_many_are_due() -> None:
    fill(HANDLE, 5, aggregates=5)
    mine, other = (Want(one, bulk=False, limit=100, taken=True, heard=True) for one in (HANDLE, OTHER))
    assert claim_of(mine) < 120
    assert claim_of(other) < 1200
    assert claim_of(mine, other) < 1300


def test_a_claim_does_not_look_at_all_that_waits_behind_one_event() -> None:
    ask("DELETE FROM events_outbox")
    fill(OTHER, BACKLOG, aggregates=1)
    ask("UPDATE events_outbox SET parked_at = now() WHERE id = (SELECT min(id) FROM events_outbox)")
    assert claim_of(Want(OTHER, bulk=False, limit=100, taken=True, heard=True)) < 1300


def test_what_is_due_later_costs_a_claim_nothing() -> None:
    ask("UPDATE events_outbox SET due_at = now() + interval '1 hour'")
    assert claim_of(Want(OTHER, bulk=False, limit=100, taken=True, heard=True)) < 60


def test_the_next_event_of_an_aggregate_is_found_among_many() -> None:
    assert looked_at(statements.NEXT, {"consumer": OTHER, "aggregate": "one:77"}) < 10
    assert looked_at(statements.NEXT, {"consumer": OTHER, "aggregate": "nothing"}) < 10


def test_what_the_metrics_look_at_is_bounded_and_their_numbers_are_no_less_true(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "EVERY", 0.0)
    monkeypatch.setattr(measuring, "PATIENCE", 60.0)
    monkeypatch.setattr(measuring, "STATEMENT", "60s")
    assert looked_at(measuring._QUERY) < 5 * measuring.MOST
    ask("UPDATE events_outbox SET parked_at = now() WHERE id IN (SELECT id FROM events_outbox ORDER BY id LIMIT 3)")
    name = connections["default"].settings_dict["NAME"]

    def depth() -> float:
        ask("SELECT pg_stat_force_next_flush()")  # what this connection has counted
        measuring.measure()
        return float(metrics.depth.labels(name)._value.get())

    eventually(lambda: depth() == pytest.approx(BACKLOG, rel=0.01), 60, "the statistics to follow")
    assert metrics.parked.labels(name)._value.get() == 3
    assert 0 <= metrics.age.labels(name)._value.get() < 3600


def test_a_stray_among_many_is_found_without_looking_at_them() -> None:
    assert looked_at(statements.CONSUMERS) < 60
    fill("gone.tasks.handle", 1)
    ask("UPDATE events_outbox SET created_at = now() - interval '1 hour' WHERE consumer = 'gone.tasks.handle'")
    assert looked_at(statements.CONSUMERS) < 60
    assert park_strays() == 1
    assert ask("SELECT consumer FROM events_outbox WHERE error = %s", [NO_CONSUMER]) == [("gone.tasks.handle",)]
