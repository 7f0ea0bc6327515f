"""One request, one id: through an event, however late it is sent, to the consumer, and back to the
producer.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.db import connections, transaction
from pytest_django import Settings
from scaleout.base import Breaker
from scaleout.events import sending
from scaleout.events.models import Outbox
from scaleout.events.outbox import publish
from scaleout.events.relay import relay
from scaleout.events.tests.broker import Broker, Worker, route
from scaleout.events.tests.conftest import EVENTS, HANDLE
from scaleout.events.tests.tasks import TABLE
from scaleout.observability import trace
from waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IDS = ("request_id", "trace_id", "span_id")


@pytest.fixture
def broker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker of the test's own, a consumer, and the table of its effects."""
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": EVENTS, "QUEUE": "celery"}
    route("celery")
    monkeypatch.setattr(sending, "_breaker", Breaker(sending.PAUSE))
    monkeypatch.setattr(sending, "_lengths", {})
    before = current_app.conf.broker_url
    with tempfile.TemporaryDirectory(prefix="trace-") as folder, connections["default"].cursor() as cursor:
        found = Broker(Path(folder))
        current_app.conf.update(broker_url=found.url)
        cursor.execute(f"CREATE TABLE {TABLE} (id bigserial, label text)")
        yield found
        cursor.execute(f"DROP TABLE {TABLE}")
        current_app.conf.update(broker_url=before)
        found.end()
        route(None)


def lines(worker: Worker, logger: str) -> list[dict[str, Any]]:
    """Return what the worker has logged so far by this logger."""
    found = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    return [line for line in found if line["logger"] == logger]


def done(worker: Worker) -> list[dict[str, Any]]:
    """Return the tasks that it has done so far, but for those that it sends itself."""
    return [line for line in lines(worker, "task") if line["task"] != "config.pulse"]


def test_an_event_that_is_sent_much_later_still_belongs_to_its_request(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending._breaker, "seconds", 0.0)
    token = trace.enter(trace.Span("abc-1", TRACE, SPAN, sampled=False, state="a=1"))
    broker.kill()
    with transaction.atomic():
        publish("happened", aggregate="one", label="a", **{"and": "fail"})
    trace.leave(token)
    row = Outbox.objects.using("default").get()
    assert row.headers == {"X-Request-ID": "abc-1", "traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "a=1"}
    Outbox.objects.using("default").update(due_at=row.created_at, known=2)

    broker.start()
    token = trace.enter(trace.Span("the-relay", "b" * 32, "c" * 16))
    assert relay() == 1
    trace.leave(token)
    (envelope,) = broker.envelopes("celery")
    assert envelope["headers"].items() >= row.headers.items()

    Outbox.objects.using("default").update(due_at=row.created_at, known=2)
    assert relay() == 1  # for the worker, outside of any request
    worker = Worker(broker)
    try:
        eventually(lambda: len(done(worker)) >= 2, 30, "the consumer and the answer to the producer")
        task, answer = done(worker)[:2]
        (failure,) = lines(worker, "scaleout.events.inbox")[:1]
    finally:
        print(worker.output())
        worker.kill()
    assert (task["task"], answer["task"]) == (HANDLE, "events.answer")
    for line in (task, failure, answer):
        assert (line["request_id"], line["trace_id"]) == ("abc-1", TRACE)
        assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    assert task["span_id"] == failure["span_id"]
    assert len({SPAN, task["span_id"], answer["span_id"]}) == 3
    assert "ValueError: no good" in failure["exception"]


def test_a_row_of_the_release_before_is_sent_too(broker: Broker) -> None:
    with transaction.atomic():
        publish("happened", aggregate="one", label="a")
    broker.envelopes("celery")
    row = Outbox.objects.using("default").get()
    Outbox.objects.using("default").update(due_at=row.created_at, known=2, headers={})
    assert relay() == 1
    (envelope,) = broker.envelopes("celery")
    assert len(envelope["headers"]["traceparent"]) == 55
