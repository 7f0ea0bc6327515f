"""Prometheus metrics of the events."""

from __future__ import annotations

import math
import threading

import pytest
from django.db import connections, transaction
from waiting import in_time

from scaleout.events import measuring, metrics
from scaleout.events.measuring import measure
from scaleout.events.outbox import failed, publish
from scaleout.events.statements import FAILURES
from scaleout.events.tests.broker import Broker
from scaleout.events.tests.conftest import HANDLE, Effects

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each call, and with time for a busy machine."""
    monkeypatch.setattr(measuring, "EVERY", 0.0)
    monkeypatch.setattr(measuring, "PATIENCE", 10.0)


def depth(alias: str) -> float:
    return float(metrics.depth.labels(connections[alias].settings_dict["NAME"])._value.get())


def tell(using: str) -> None:
    with transaction.atomic(using=using):
        publish("happened", aggregate="one", using=using, label="a")


def test_the_outboxes_and_the_queue_are_measured(broker: Broker) -> None:
    made = []
    with transaction.atomic(using="shard1"):
        made += [publish("happened", aggregate=str(number), using="shard1", label="a") for number in range(3)]
    for _ in range(FAILURES):
        failed("shard1", made[0], HANDLE, "ValueError: no good", counts=True)
    with connections["shard1"].cursor() as cursor:
        cursor.execute("UPDATE events_outbox SET created_at = created_at - interval '1 minute'")
    measure()
    name, empty = (connections[alias].settings_dict["NAME"] for alias in ("shard1", "default"))
    assert metrics.depth.labels(name)._value.get() == 3
    assert metrics.parked.labels(name)._value.get() == 1
    assert 60 <= metrics.age.labels(name)._value.get() < 90
    assert metrics.depth.labels(empty)._value.get() == metrics.age.labels(empty)._value.get() == 0
    assert metrics.queue.labels("celery")._value.get() == 3


def test_what_cannot_be_asked_is_no_number(broker: Broker) -> None:
    broker.kill()
    lost = connections["shard1"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        measure()
        assert math.isnan(metrics.depth.labels("no_such_database")._value.get())
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name
    assert math.isnan(metrics.queue.labels("celery")._value.get())


def test_the_backlog_is_measured_while_the_broker_is_down(broker: Broker) -> None:
    broker.kill()
    tell("shard1")
    measure()
    assert (depth("shard1"), depth("default")) == (1, 0)
    assert math.isnan(metrics.queue.labels("celery")._value.get())


def test_a_process_looks_once_however_often_it_is_asked(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    measure()
    monkeypatch.setattr(measuring, "EVERY", 60.0)
    tell("shard1")
    measure()
    assert depth("shard1") == 0
    monkeypatch.setattr(measuring, "EVERY", 0.0)
    measure()
    assert depth("shard1") == 1


def test_an_outbox_that_does_not_answer_in_time_has_no_metric_and_delays_no_scrape(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.5)
    with transaction.atomic(using="shard1"), connections["shard1"].cursor() as cursor:
        cursor.execute("LOCK TABLE events_outbox")
        with in_time():
            measure()
            measure()  # and no second look beside the first
        assert math.isnan(depth("shard1"))
        assert sum(one.name == "outbox shard1" for one in threading.enumerate()) <= 1
        monkeypatch.setattr(measuring, "PATIENCE", 10.0)
        measure()  # the statement's own time is over
        assert (math.isnan(depth("shard1")), depth("default")) == (True, 0)
    measure()
    assert depth("shard1") == 0


def test_an_event_that_comes_again_is_counted_as_dropped(broker: Broker, effects: type[Effects]) -> None:
    from scaleout.events.tests.tasks import handle  # noqa: PLC0415 - a task, not a test

    def counted() -> tuple[float, float]:
        outcome = metrics.received.labels("happened", "duplicate")
        return metrics.duplicates.labels("happened")._value.get(), outcome._value.get()

    tell("default")
    (message,) = broker.messages("celery")
    dropped, seen = counted()
    for _ in range(10):
        handle.apply(kwargs=message)
    assert counted() == (dropped + 9, seen + 9)
    assert effects.seen() == ["a"]
