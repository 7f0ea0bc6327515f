"""An event has its effect once, whatever becomes of the worker, the broker and the answer. With a
real worker.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connections, transaction
from waiting import TIME_FACTOR, eventually

from scaleout.events.event import Event
from scaleout.events.inbox import KEPT
from scaleout.events.models import Inbox, Outbox
from scaleout.events.outbox import Want, claim, publish, resend
from scaleout.events.relay import relay, tidy
from scaleout.events.statements import FAILURES
from scaleout.events.tasks import answer as take_answer
from scaleout.events.tests.broker import Broker, Worker
from scaleout.events.tests.conftest import HANDLE, Effects
from scaleout.events.uuid7 import uuid7

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])
START = 60.0  # seconds that a worker may take until it works


def tell(label: str, aggregate: str = "one", **data: Any) -> None:
    with transaction.atomic():
        publish("happened", aggregate=aggregate, label=label, **data)


def waiting() -> int:
    return Outbox.objects.using("default").count()


def send_again(broker: Broker) -> None:
    """Let time pass, and send what is not received; if the worker has nothing to do, or it would
    have it many times.
    """
    if broker.length("celery") == 0:
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE events_outbox SET due_at = due_at - interval '1 hour', known = 1")
        relay()


def await_all_received(broker: Broker, seconds: float = START) -> None:
    def received() -> bool:
        send_again(broker)
        return waiting() == 0

    eventually(received, seconds, "every event to be received")


# ── once ──────────────────────────────────────────────────────────────────────────────────────────
def test_the_same_event_ten_times_has_one_effect(broker: Broker, effects: type[Effects], worker: Worker) -> None:
    tell("a")
    for _ in range(9):
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE events_outbox SET due_at = clock_timestamp(), known = 1")
        for _, event in claim("default", [Want(HANDLE, bulk=False, limit=1, taken=True, heard=True)])[0]:
            current_app.send_task(HANDLE, kwargs={"event": event.message()}, queue="celery")
    eventually(lambda: waiting() == 0 and broker.length("celery") == 0, START, "all deliveries to be done")
    eventually(lambda: worker.output().count(f"Task {HANDLE}") >= 10, 10, "ten deliveries in the log")
    assert effects.seen() == ["a"]


def test_two_deliveries_at_the_same_time_have_one_effect(broker: Broker, effects: type[Effects]) -> None:
    from scaleout.events.tests.tasks import handle  # noqa: PLC0415 - a task, not a test

    tell("a")
    (message,) = broker.messages("celery")
    start = threading.Barrier(8)

    def deliver() -> None:
        try:
            start.wait(10 * TIME_FACTOR)
            handle.apply(kwargs=message)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20 * TIME_FACTOR)
    assert effects.seen() == ["a"]
    assert len(broker.messages("celery")) == 8  # each is answered


def test_an_effect_that_fails_leaves_nothing_behind_and_is_tried_again(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    broken = broker.folder / "broken"
    broken.touch()
    tell("a", **{"and": "fail while there is a file", "folder": str(broker.folder)})
    outbox = Outbox.objects.using("default")
    eventually(lambda: outbox.get().failures == 1, START, "the failure to be reported")
    assert effects.seen() == []
    assert Inbox.objects.using("default").count() == 0
    assert outbox.get().error == "ValueError: broken"
    broken.unlink()
    await_all_received(broker)
    assert effects.seen() == ["a"]


def test_a_worker_that_is_killed_between_the_effect_and_the_answer_does_nothing_twice(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    tell("a", **{"and": "die after the commit the first time", "folder": str(broker.folder)})
    await_all_received(broker)
    assert effects.seen() == ["a"]
    assert (broker.folder / f"seen-{Inbox.objects.using('default').get().event_id}").exists()


def test_a_worker_that_is_killed_in_the_middle_of_two_events_leaves_two_effects(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    for number in range(2):
        tell(str(number), str(number), **{"and": "die the first time", "folder": str(broker.folder)})
    await_all_received(broker, 180)
    assert sorted(effects.seen(), key=int) == ["0", "1"]
    assert len(list(broker.folder.glob("seen-*"))) == 2


def test_a_whole_worker_that_is_killed_in_the_middle_of_an_event_leaves_one_effect(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    tell("a", **{"and": "wait to be killed the first time", "folder": str(broker.folder)})
    eventually(lambda: list(broker.folder.glob("seen-*")), START, "the worker to be in the middle")
    worker.kill()
    second = Worker(broker)
    try:
        await_all_received(broker)
    finally:
        second.kill()
        worker.__init__(broker)  # type: ignore[misc]  # so that the fixture has one to end
    assert effects.seen() == ["a"]


# ── what cannot be done ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("how", ["fail", "die"])
def test_an_event_that_always_fails_is_parked_and_only_its_own_aggregate_waits_for_a_person(
    broker: Broker, effects: type[Effects], worker: Worker, how: str
) -> None:
    tell("poison", **{"and": how})
    tell("behind")
    for number in range(5):
        tell(str(number), aggregate="two")
    outbox = Outbox.objects.using("default")
    if how == "die":  # Celery takes five seconds and more to notice each death
        outbox.filter(data__label="poison").update(failures=FAILURES - 1)

    def parked() -> bool:
        send_again(broker)
        return outbox.filter(parked_at__isnull=False).exists()

    eventually(parked, 180, "the event to be parked")
    eventually(lambda: waiting() == 2, START, "the others to be received")
    send_again(broker)
    assert effects.seen() == ["0", "1", "2", "3", "4"]
    first, second = outbox.order_by("id")
    assert (first.data["label"], first.failures, second.sends) == ("poison", FAILURES, 0)
    errors = {"fail": "ValueError: no good ?", "die": "Refused: the worker was lost while it handled the event"}
    assert first.error == errors[how]

    outbox.filter(pk=first.pk).update(data={"label": "mended"})
    assert resend("default", [first.event_id]) == 1
    await_all_received(broker)
    assert effects.seen()[5:] == ["mended", "behind"]


@pytest.mark.parametrize("what", ["lose the database", pytest.param("lose the primary", marks=pytest.mark.long)])
def test_a_database_that_is_away_parks_nothing(
    broker: Broker, effects: type[Effects], worker: Worker, what: str
) -> None:
    tell("a", **{"and": what})
    outbox = Outbox.objects.using("default")
    eventually(lambda: outbox.get().error, START, "the consumer to say so")

    def sent_often() -> bool:
        send_again(broker)
        return outbox.get().sends > FAILURES

    eventually(sent_often, START, "the event to be sent more often than it may fail")
    assert (outbox.get().failures, outbox.get().parked_at) == (0, None)


def answered(broker: Broker, message: dict[str, Any]) -> dict[str, Any]:
    """Handle what a message holds, and return the answer."""
    from scaleout.events.tests.tasks import handle  # noqa: PLC0415 - a task, not a test

    handle.apply(kwargs=message)
    (answer,) = broker.messages("celery")
    return answer


@pytest.mark.parametrize(
    ("what", "counts"),
    [("take too long", True), ("find it locked", False), ("lose the database", False), ("lose the primary", False)],
)
def test_an_error_that_an_event_makes_in_the_database_counts_and_one_of_the_server_does_not(
    broker: Broker, effects: type[Effects], what: str, counts: bool
) -> None:
    tell("a", **{"and": what})
    (message,) = broker.messages("celery")
    answer = answered(broker, message)
    assert (answer["counts"], answer["sends"]) == (counts, 1)


def test_of_ten_copies_that_all_fail_one_counts(broker: Broker, effects: type[Effects]) -> None:
    tell("a", **{"and": "fail"})
    for _ in range(9):
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE events_outbox SET due_at = clock_timestamp(), known = 2")
        relay()
    outbox = Outbox.objects.using("default")
    copies = broker.messages("celery")
    assert (len(copies), outbox.get().sends) == (10, 10)
    answers = [answered(broker, one) for one in copies]
    for answer in answers[:-1]:
        take_answer.apply(kwargs=answer)
    assert (outbox.get().failures, outbox.get().parked_at) == (0, None)
    for answer in (answers[-1], {name: value for name, value in answers[0].items() if name != "sends"}):
        take_answer.apply(kwargs=answer)  # the newest, and one of a consumer of an older release
    assert (outbox.get().failures, outbox.get().parked_at) == (2, None)


def test_an_event_older_than_the_memory_of_the_inbox_is_refused(broker: Broker, effects: type[Effects]) -> None:
    from scaleout.events.tests.tasks import handle  # noqa: PLC0415 - a task, not a test

    old = Event(uuid7(), "happened", "one", {"label": "a"}, datetime.now(UTC) - KEPT, HANDLE, "default", "celery")
    handle.apply(kwargs={"event": old.message()})
    assert effects.seen() == []
    (answer,) = broker.messages("celery")
    assert "older than the 30 days" in answer["error"]


def test_what_a_later_release_says_besides_is_ignored(broker: Broker, effects: type[Effects]) -> None:
    tell("a")
    (message,) = broker.messages("celery")
    message["event"] |= {"from_a_later_release": 1}
    message["event"]["data"] |= {"more": 1}
    answer = answered(broker, message)
    assert (effects.seen(), "error" in answer) == (["a"], False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "Refused: event version 2 is unknown: this release knows versions up to 1"),
        ({"data": {}}, "Refused: the event's data lack the str 'label'"),
        ({"data": {"label": 1}}, "Refused: the event's data lack the str 'label'"),
    ],
)
def test_an_event_that_cannot_be_read_is_parked_with_its_reason(
    broker: Broker, effects: type[Effects], change: dict[str, Any], reason: str
) -> None:
    tell("a")
    (message,) = broker.messages("celery")
    message["event"] |= change
    outbox = Outbox.objects.using("default")
    for _ in range(FAILURES):
        assert outbox.get().parked_at is None
        take_answer.apply(kwargs=answered(broker, message) | {"sends": 0})
    assert outbox.get().parked_at is not None
    assert (effects.seen(), outbox.get().error) == ([], reason)


def test_the_inbox_drops_only_ids_that_no_sender_can_repeat(broker: Broker) -> None:
    now = datetime.now(UTC)
    entries = [
        Inbox(consumer=HANDLE, event_id=uuid7(), received_at=now - KEPT - timedelta(hours=1)) for _ in range(250)
    ]
    young = Inbox(consumer=HANDLE, event_id=uuid7(), received_at=now - KEPT + timedelta(hours=1))
    Inbox.objects.using("default").bulk_create([*entries, young])
    assert tidy() == 250
    assert Inbox.objects.using("default").get().event_id == young.event_id


# ── the broker ────────────────────────────────────────────────────────────────────────────────────
def test_a_broker_that_is_killed_under_load_costs_no_event_and_doubles_none(
    broker: Broker, effects: type[Effects], worker: Worker
) -> None:
    for number in range(60):
        tell(str(number), aggregate=str(number % 7))
        if number == 20:
            broker.kill()
        if number == 40:
            broker.start()
    await_all_received(broker, 180)
    seen = effects.seen()
    assert sorted(seen, key=int) == [str(number) for number in range(60)]
    for aggregate in range(7):
        mine = [int(one) for one in seen if int(one) % 7 == aggregate]
        assert mine == sorted(mine)
