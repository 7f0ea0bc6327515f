"""Many events at once, with a real worker: each is sent once, and a single one overtakes them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connections, transaction
from pytest_django import Settings
from waiting import eventually

from scaleout.events import metrics, outbox, sending
from scaleout.events.models import Outbox
from scaleout.events.outbox import publish, publish_many
from scaleout.events.relay import relay
from scaleout.events.tests.broker import Broker, Worker, route
from scaleout.events.tests.conftest import HANDLE, Effects

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])
MANY = 2000  # as many as made 895 duplicates before
PATIENCE = 600.0  # seconds for all of them, on a busy machine
# What a worker may have in hand, and what may just be on its way to it, when a single event comes.
MOST_BEFORE = 10


@pytest.fixture
def worker(broker: Broker, effects: type[Effects], settings: Settings) -> Iterator[Worker]:
    """A worker with queues of three kinds, as the stack's have."""
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    route("tests.events")
    found = Worker(broker, "tests.answers,tests.events,tests.bulk")
    yield found
    print(found.output()[-5000:])  # shown where the test has failed
    found.kill()


def left() -> int:
    return Outbox.objects.using("default").count()


def import_many(count: int = MANY) -> None:
    with transaction.atomic():
        publish_many("happened", ((f"product:{one}", {"label": f"many {one}"}) for one in range(count)))


@pytest.mark.long
def test_two_thousand_events_are_two_thousand_sends_and_single_ones_overtake_them(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    """One worker needs longer for them than the time after which an event is sent again."""
    started, singles = time.monotonic(), dict[str, int]()
    import_many()

    def done() -> bool:
        """Do as the worker's pulse does; and now and then tell a single event, and look what was
        done before it.
        """
        relay()
        assert broker.length("tests.bulk") <= sending.MANY + 1
        if len(singles) < 5 and len(effects.seen()) > MANY // 6 * (len(singles) + 1):
            label = f"single {len(singles)}"
            with transaction.atomic():
                publish("happened", aggregate=label, label=label)
            singles[label] = len(effects.seen())
        return left() == 0

    eventually(done, PATIENCE, "all events to be received")
    assert time.monotonic() - started > 15, "too quick to show anything: let there be more of them"
    seen = effects.seen()
    assert Counter(seen) == Counter({f"many {one}": 1 for one in range(MANY)} | dict.fromkeys(singles, 1))
    assert len(singles) == 5
    for label, before in singles.items():
        assert seen.index(label) - before <= MOST_BEFORE, "it came behind the many"
    assert worker.output().count(f"Task {HANDLE}[") == MANY + 5, "each is delivered once"
    assert broker.length("tests.bulk") == broker.length("tests.events") == broker.length("tests.answers") == 0


def test_a_single_event_does_not_wait_for_the_turn_of_one_of_many_before_it(
    broker: Broker, effects: type[Effects], settings: Settings
) -> None:
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    route("tests.events")
    import_many(300)
    with transaction.atomic():
        publish("happened", aggregate="product:299", label="a rename")
    assert relay() == sending.MANY, "beside the one that the rename waits for, which went with its commit"
    (first,) = broker.messages("tests.events")
    assert first["event"]["data"]["label"] == "many 299"
    assert broker.length("tests.bulk") == sending.MANY
    assert first["event"]["queue"] == "tests.answers"
    (second, *_) = broker.messages("tests.bulk")
    assert second["event"]["queue"] == "tests.bulk", "the answers to many wait as well"


def test_an_answer_to_one_of_many_sends_another_one(
    broker: Broker, effects: type[Effects], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scaleout.events.tasks import answer  # noqa: PLC0415 - a task, not a test

    monkeypatch.setattr(sending, "MANY", 10)
    monkeypatch.setattr(outbox, "SEEN", 0.0)
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    route("tests.events")
    import_many(15)
    assert (relay(), relay()) == (10, 0)
    for message in broker.messages("tests.bulk"):
        event = message["event"]
        answer(event["outbox"], event["id"], event["consumer"])
    assert (broker.length("tests.bulk"), left()) == (5, 5)


def test_what_waits_in_the_queue_is_not_sent_again_however_long_it_waits(
    broker: Broker, effects: type[Effects], settings: Settings
) -> None:
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    route("tests.events")
    for number in range(3):
        with transaction.atomic():
            publish("happened", aggregate=str(number), label=str(number))
    sent = metrics.sent.labels("happened", "relay")._value.get()

    def pass_time() -> int:
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE events_outbox SET due_at = due_at - interval '1 hour'")
        return relay()

    assert [pass_time() for _ in range(5)] == [0] * 5
    broker.messages("tests.events")  # a worker takes them
    assert pass_time() == 0, "it may just be at work"
    with broker.client as client:
        client.lpush("tests.answers", "an answer that is not read yet")
        assert pass_time() == 0
        client.delete("tests.answers")
    assert pass_time() == 3
    assert metrics.sent.labels("happened", "relay")._value.get() - sent == 3
