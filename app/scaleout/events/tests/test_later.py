"""A task that is due later runs once, however long the broker waits for what a worker holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connections, transaction
from waiting import eventually

from scaleout.events import sending
from scaleout.events.application import Application
from scaleout.events.models import Later
from scaleout.events.relay import relay_tasks
from scaleout.events.tests.broker import Broker, Worker
from scaleout.events.tests.conftest import Effects
from scaleout.events.tests.tasks import following, note

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])
START = 60.0  # seconds that a worker may take until it works


@pytest.fixture(autouse=True)
def _application(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send to the broker of the test, whatever an earlier one had."""
    app: Any = current_app
    assert isinstance(app._get_current_object(), Application)
    monkeypatch.setattr(app._get_current_object(), "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)


def pass_time() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE events_later SET due_at = due_at - interval '1 hour'")


def kept() -> int:
    return Later.objects.using("default").count()


def seconds_left() -> float:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM due_at - created_at)::float FROM events_later")
        return float(cursor.fetchone()[0])


@pytest.mark.parametrize(
    "options",
    [
        lambda: {"countdown": 200},
        lambda: {"eta": datetime.now(UTC) + timedelta(seconds=200)},
        lambda: {"eta": (datetime.now(UTC) + timedelta(seconds=200)).isoformat()},
    ],
    ids=["countdown", "eta", "eta as text"],
)
def test_a_task_that_is_due_after_the_visibility_time_out_is_with_no_worker_until_then(
    broker: Broker, options: Callable[[], dict[str, Any]]
) -> None:
    following.set("the request")
    result = note.apply_async(args=("a",), queue="celery", expires=3600, **options())
    with broker.client as client:
        assert not set(client.keys("*")) & {b"celery", b"unacked"}
    assert (kept(), relay_tasks()) == (1, 0)
    assert 100 < seconds_left() <= 201
    pass_time()
    assert (relay_tasks(), relay_tasks(), kept()) == (1, 0, 0)
    (sent,) = broker.envelopes("celery")
    assert (sent["headers"]["id"], sent["headers"]["task"], sent["headers"]["eta"]) == (result.id, note.name, None)
    assert sent["headers"]["traceparent"] == "the request"
    assert datetime.fromisoformat(sent["headers"]["expires"]) > datetime.now(UTC) + timedelta(minutes=50)


def test_a_task_that_is_due_soon_is_sent_at_once(broker: Broker) -> None:
    note.apply_async(args=("a",), queue="celery", countdown=20)
    assert (kept(), broker.length("celery")) == (0, 1)


def test_a_task_that_is_kept_in_a_transaction_that_is_rolled_back_is_none(broker: Broker) -> None:
    with transaction.atomic():
        note.apply_async(args=("a",), queue="celery", countdown=200)
        transaction.set_rollback(True)
    assert kept() == 0


def test_what_json_cannot_hold_is_refused_at_its_sender(broker: Broker) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        note.apply_async(args=(object(),), queue="celery", countdown=200)


def test_a_task_that_tries_again_after_the_visibility_time_out_runs_as_often_as_it_says(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    """The first time it asks for another one in 200 s; the worker keeps nothing, and the second one
    is the last.
    """
    sent = note.apply_async(args=("a",), kwargs={"again": 200}, queue="celery")
    eventually(lambda: kept() == 1, START, "the second try to be kept")
    eventually(lambda: not broker.holds(), START, "the worker to hold nothing")
    pass_time()
    assert relay_tasks() == 1
    eventually(lambda: len(effects.seen()) == 2, START, "the second try")
    assert effects.seen() == ["a 0", "a 1"]
    assert worker.output().count(f"Task {note.name}[{sent.id}] received") == 2
    assert (kept(), broker.length("celery")) == (0, 0)


def test_a_retry_that_cannot_be_kept_comes_early_and_is_not_lost(broker: Broker) -> None:
    lost = connections["default"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        options: dict[str, Any] = {"retries": 1, "task_id": "one"}  # as Task.retry() sends it
        note.apply_async(args=("a",), queue="celery", countdown=200, **options)
        with pytest.raises(Exception, match="no_such_database"):
            note.apply_async(args=("b",), queue="celery", countdown=200)
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name
    (sent,) = broker.envelopes("celery")
    assert sent["headers"]["id"] == "one"
    assert datetime.fromisoformat(sent["headers"]["eta"]) < datetime.now(UTC) + timedelta(seconds=31)


def test_what_the_broker_does_not_take_is_kept_and_sent_when_it_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    note.apply_async(args=("a",), queue="celery", countdown=200)
    pass_time()
    broker.kill()
    assert (relay_tasks(), kept()) == (0, 1)
    broker.start()
    monkeypatch.setattr(sending._breaker, "seconds", 0.0)
    pass_time()
    assert (relay_tasks(), kept(), broker.length("celery")) == (1, 0, 1)
