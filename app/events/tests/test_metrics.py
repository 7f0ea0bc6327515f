"""What Prometheus is told."""

from __future__ import annotations

import math

import pytest
from django.db import connections, transaction

from events import metrics
from events.outbox import FAILURES, failed, publish
from events.relay import measure
from events.tests.broker import Broker
from events.tests.conftest import HANDLE

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])


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
