"""An event is written with its change, sent after it, and in the order of its aggregate."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import datetime
from typing import Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from pytest_django import Settings
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.events import outbox, sending
from scaleout.events.event import Event
from scaleout.events.models import Outbox
from scaleout.events.outbox import Want, claim, publish, publish_many, received
from scaleout.events.relay import NO_CONSUMER, park_strays, relay
from scaleout.events.tests.broker import APP, Broker, environment
from scaleout.events.tests.conftest import HANDLE
from scaleout.events.tests.tasks import following

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])


def tell(label: str, aggregate: str = "one", using: str = "default", **data: Any) -> None:
    with transaction.atomic(using=using):
        publish("happened", aggregate=aggregate, using=using, label=label, **data)


def labels(broker: Broker) -> list[str]:
    return [message["event"]["data"]["label"] for message in broker.messages("celery")]


def pass_time(known: int = 1) -> None:
    """Let so much time pass that what was sent is due again. 1: and the queue was seen empty
    since.
    """
    for alias in ("default", "shard1"):
        with connections[alias].cursor() as cursor:
            cursor.execute("UPDATE events_outbox SET due_at = due_at - interval '1 hour', known = %s", [known])


def database_clock() -> datetime:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cast(datetime, cursor.fetchone()[0])


def waiting() -> int:
    return Outbox.objects.using("default").count()


# ── publish ───────────────────────────────────────────────────────────────────────────────────────
def test_an_event_is_sent_after_the_commit_of_its_change_and_not_before(broker: Broker) -> None:
    with transaction.atomic():
        made = publish("happened", aggregate="one", label="a")
        assert broker.length("celery") == 0
    (message,) = broker.messages("celery")
    event = Event.read(message["event"])
    assert (event.id, event.name, event.aggregate, event.data) == (made, "happened", "one", {"label": "a"})
    assert (event.consumer, event.outbox, event.queue) == (HANDLE, "default", "celery")
    assert (made.version, waiting()) == (7, 1)


def test_an_event_whose_change_is_rolled_back_is_never_sent(broker: Broker) -> None:
    def tell_and_fail(label: str) -> None:
        with transaction.atomic():
            publish("happened", aggregate="one", label=label)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tell_and_fail("a")
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            tell_and_fail("b")
        publish("happened", aggregate="two", label="c")
    assert labels(broker) == ["c"]
    assert waiting() == 1


def test_each_consumer_gets_the_event(broker: Broker) -> None:
    with transaction.atomic():
        publish("happened twice", aggregate="one", label="a")
    assert sorted(one["event"]["consumer"] for one in broker.messages("celery")) == ["elsewhere.tasks.handle", HANDLE]


def test_an_event_is_written_to_the_database_of_its_change(broker: Broker) -> None:
    tell("a", using="shard1")
    assert (waiting(), Outbox.objects.using("shard1").count()) == (0, 1)
    (message,) = broker.messages("celery")
    received("shard1", Event.read(message["event"]).id, HANDLE)
    assert Outbox.objects.using("shard1").count() == 0


def test_an_invalid_event_is_refused_when_it_is_published() -> None:
    with pytest.raises(transaction.TransactionManagementError, match="outside of a transaction"):
        publish("happened", aggregate="one")
    with transaction.atomic(using="shard1"), pytest.raises(transaction.TransactionManagementError, match="on default"):
        publish("happened", aggregate="one")
    with transaction.atomic(), pytest.raises(ImproperlyConfigured, match="no consumers of misspelt"):
        publish("misspelt", aggregate="one")
    with transaction.atomic(), pytest.raises(TypeError, match="not JSON serializable"):
        publish("happened", aggregate="one", what=object())
    for what in (float("nan"), float("inf"), "a\0", ["\\\0"], {"\0": 1}, "\ud800", "ä" * 32_768):
        with transaction.atomic():
            with pytest.raises(ValueError, match=r"JSON compliant|NUL|surrogates|more than 65536 bytes"):
                publish_many("happened", [("one", {"what": what})])
            with pytest.raises(ValueError, match=r"JSON compliant|NUL|surrogates|more than 65536 bytes"):
                publish("happened", aggregate="one", what=what)
            assert waiting() == 0, "the transaction goes on"


def test_any_text_arrives_unchanged(broker: Broker) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        assert cursor.fetchone() == ("UTF8",), "as in production"
    for text in ("ä€😀", "\\u0000", "\\\\u0000", "\x01\x7f\u2028"):
        tell(text)
        (row,) = Outbox.objects.using("default")
        assert row.data["label"] == text
        row.delete()


def test_an_event_names_its_request_for_every_sender(broker: Broker) -> None:
    def sent() -> list[str]:
        return [one["headers"]["traceparent"] for one in broker.envelopes("celery")]

    for request in ("first", "second"):
        following.set(request)
        tell(request)
    following.set("the relay")
    assert sent() == ["first"]
    pass_time()
    relay()  # again
    assert sent() == ["first"]
    received("default", Outbox.objects.earliest("id").event_id, HANDLE)  # the next one goes
    assert sent() == ["second"]


# ── order ─────────────────────────────────────────────────────────────────────────────────────────
def test_the_next_event_of_an_aggregate_goes_when_the_first_was_received(broker: Broker) -> None:
    for label in ("a", "b", "c"):
        tell(label)
    tell("x", aggregate="two")
    messages = broker.messages("celery")
    assert [one["event"]["data"]["label"] for one in messages] == ["a", "x"]
    relay()
    assert broker.messages("celery") == []
    first = Event.read(messages[0]["event"])
    for _ in range(3):  # an answer that comes again sends nothing more
        received("default", first.id, HANDLE)
    assert labels(broker) == ["b"]
    pass_time()
    relay()
    assert labels(broker) == ["b", "x"]


def test_events_of_one_transaction_have_their_order_too(broker: Broker) -> None:
    with transaction.atomic():
        for label in ("a", "b"):
            publish("happened", aggregate="one", label=label)
    (message,) = broker.messages("celery")
    assert message["event"]["data"]["label"] == "a"
    received("default", Event.read(message["event"]).id, HANDLE)
    assert labels(broker) == ["b"]


def waits_for_a_lock() -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return bool(cursor.fetchone() == (1,))


def test_the_order_of_two_transactions_is_that_of_their_commits(broker: Broker) -> None:
    begun, go = threading.Event(), threading.Event()

    def first() -> None:
        try:
            with transaction.atomic():
                publish("happened", aggregate="one", label="first")
                begun.set()
                assert go.wait(10 * TIME_FACTOR)
        finally:
            connections.close_all()

    def second() -> None:
        try:
            tell("second")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for one in (first, second)]
    threads[0].start()
    assert begun.wait(10 * TIME_FACTOR)
    threads[1].start()
    eventually(waits_for_a_lock, what="the second to wait for the first")
    tell("other", aggregate="two")  # and this one does not
    go.set()
    for thread in threads:
        thread.join(10 * TIME_FACTOR)
    assert labels(broker) == ["other", "first"]
    rows = Outbox.objects.using("default").filter(aggregate="one").order_by("id")
    assert [row.data["label"] for row in rows] == ["first", "second"]


# ── buckets ───────────────────────────────────────────────────────────────────────────────────────
def test_an_event_has_the_bucket_of_its_transaction(broker: Broker) -> None:
    def tell_all(bucket: str | None) -> None:
        with transaction.atomic(using="shard1"):
            with connections["shard1"].cursor() as cursor:
                if bucket is not None:
                    cursor.execute("SELECT set_config('sharding.bucket', %s, true)", [bucket])
                # As the release before writes it.
                cursor.execute(
                    "INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, due_at)"
                    " VALUES (gen_random_uuid(), 'happened', 'old', %s, '{}', now())",
                    [HANDLE],
                )
            publish("happened", aggregate="one", using="shard1", label="a")
            publish_many("happened", [("many", {"label": "b"})], using="shard1")

    rows = Outbox.objects.using("shard1").order_by("id")
    tell_all(None)
    assert [(row.aggregate, row.bucket) for row in rows] == [("old", None), ("one", None), ("many", None)]
    for bucket in ("0", "1023"):
        rows.delete()
        tell_all(bucket)
        assert [row.bucket for row in rows.all()] == [int(bucket)] * 3
    rows.delete()
    tell_all(None)  # on a connection that has had one
    assert [row.bucket for row in rows.all()] == [None] * 3


# ── what is left ──────────────────────────────────────────────────────────────────────────────────
def test_a_process_that_is_killed_between_commit_and_send_loses_no_event(broker: Broker) -> None:
    process = subprocess.run(
        [sys.executable, str(APP / "scaleout" / "events" / "tests" / "process.py"), "publish"],
        env=environment(broker), timeout=60 * TIME_FACTOR, check=False,
    )  # fmt: skip
    assert process.returncode == -9
    assert (waiting(), broker.length("celery")) == (1, 0)
    pass_time()
    assert relay() == 1
    assert labels(broker) == ["crash"]


def test_what_is_not_answered_is_sent_again_with_growing_pauses(broker: Broker) -> None:
    tell("a")
    assert relay() == 0
    for wanted in (10, 10, 10, 16, 32, 64, 120):
        assert labels(broker) == ["a"]
        pass_time(known=0)
        before = database_clock()
        assert relay() == 0, "it is noted that the queue is empty"
        after = database_clock()
        due = Outbox.objects.using("default").get().due_at
        # It was noted at some time between the two; 5 s were before that.
        shortest, longest = ((due - noted).total_seconds() + 5 for noted in (after, before))
        assert longest > 0.79 * wanted
        assert shortest < 1.21 * wanted
        pass_time()
        assert relay() == 1


def test_two_relays_at_once_send_each_event_once(broker: Broker, settings: Settings) -> None:
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    for number in range(450):
        with transaction.atomic():
            publish("happened", aggregate=str(number), label=str(number))
    assert len(labels(broker)) == 450
    pass_time()
    start = threading.Barrier(2)
    sent: list[int] = []

    def one() -> None:
        try:
            start.wait(10 * TIME_FACTOR)
            sent.append(relay(20))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30 * TIME_FACTOR)
    assert sum(sent) == 450
    assert sorted(labels(broker), key=int) == [str(number) for number in range(450)]


def test_a_relay_passes_over_what_another_one_has_in_its_hand(broker: Broker) -> None:
    for number in range(4):
        tell(str(number), aggregate=str(number))
    broker.messages("celery")
    pass_time()
    with closing(connections["default"].copy()) as other, transaction.atomic():
        with other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM events_outbox WHERE aggregate IN ('0', '2') FOR UPDATE")
        with connections["default"].cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '3s'")
        claimed, _ = claim("default", [Want(HANDLE, bulk=False, limit=4, taken=True, heard=True)])
    assert sorted(event.aggregate for _, event in claimed) == ["1", "3"]


def test_a_queue_that_is_full_gets_nothing_more_from_the_relay(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FULL", 3)
    for number in range(3):
        tell(str(number), aggregate=str(number))
    pass_time()
    assert relay() == 0
    assert labels(broker) == ["0", "1", "2"]
    assert relay() == 3


def test_a_database_with_a_long_row_leaves_room_to_the_others(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FULL", 3)
    monkeypatch.setattr(outbox, "SEEN", 0.0)
    for number in range(5):
        tell(f"long {number}", aggregate=str(number))
        tell(f"short {number}", aggregate=str(number), using="shard1")
    sent = list[str]()
    for _ in range(4):  # as many as there are databases
        broker.messages("celery")
        pass_time()
        relay()
        sent += labels(broker)
    assert {one.split()[0] for one in sent} == {"long", "short"}


def test_a_queue_that_is_full_gets_nothing_more_after_a_commit_either(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FULL", 3)
    monkeypatch.setattr(outbox, "SEEN", 0.0)
    for number in range(5):
        tell(str(number), aggregate=str(number))
    assert labels(broker) == ["0", "1", "2"]
    pass_time()
    assert [relay(), len(labels(broker)), relay()] == [3, 3, 2]


def test_how_full_a_queue_is_is_not_asked_at_each_commit(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def length(queue: str) -> int:
        asked.append(queue)
        return 0

    monkeypatch.setattr(sending, "length", length)
    monkeypatch.setattr(outbox, "SEEN", 60.0)
    for number in range(5):
        tell(str(number))
    assert asked == ["celery"]


def test_what_is_for_a_consumer_that_there_is_no_more_is_parked_when_no_older_release_can_run(
    broker: Broker, settings: Settings
) -> None:
    with transaction.atomic():
        publish("happened twice", aggregate="one", label="a")
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": {"happened": [HANDLE]}}
    parked = Outbox.objects.using("default").filter(parked_at__isnull=False)
    assert (park_strays(), parked.count()) == (0, 0)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE events_outbox SET created_at = created_at - interval '1 hour'")
    assert (park_strays(), park_strays()) == (1, 0)
    assert (parked.get().consumer, parked.get().error) == ("elsewhere.tasks.handle", NO_CONSUMER)


# ── many ──────────────────────────────────────────────────────────────────────────────────────────
def test_many_events_are_written_with_their_change_and_sent_by_the_relay_a_few_at_a_time(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH", 30)
    monkeypatch.setattr(sending, "MANY", 40)
    following.set("the request")
    tell("before", aggregate="7")
    with transaction.atomic():
        publish_many("happened", ((str(number), {"label": str(number)}) for number in range(100)))
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert cursor.fetchone() == (0,)  # the server has place for some thousands
    assert labels(broker) == ["before"]
    received("default", Outbox.objects.earliest("id").event_id, HANDLE)
    (next_one,) = broker.envelopes("celery")
    assert next_one["headers"]["traceparent"] == "the request"
    sent = list[str]()
    for wanted in (40, 40, 19):
        assert (relay(), relay()) == (wanted, 0), "the queue is full"
        sent += labels(broker)
    assert sorted(sent, key=int) == [str(number) for number in range(100) if number != 7]


def test_many_events_are_not_sent_if_their_change_is_rolled_back(broker: Broker) -> None:
    with transaction.atomic():
        publish_many("happened", [("one", {"label": "a"})])
        transaction.set_rollback(True)
    assert waiting() == 0


def test_a_database_that_is_away_does_not_keep_the_relay_from_the_others(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("a", using="shard1")
    broker.messages("celery")
    pass_time()
    lost = connections["default"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        assert relay() == 1
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name


def test_a_server_that_is_the_primary_no_more_does_not_keep_the_relay_from_the_others(broker: Broker) -> None:
    tell("a", using="default")
    tell("b", using="shard1")
    broker.messages("celery")
    pass_time()
    with connections["default"].cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    try:
        assert relay() == 1
    finally:
        connections["default"].close()
    broker.messages("celery")
    assert relay() == 1


# ── the broker ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_lost_broker_delays_no_request_and_gets_every_event_when_it_recovers(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, settings: Settings, how: str
) -> None:
    settings.EVENTS = settings.EVENTS | {"QUEUE": "tests.answers"}
    tell("before", aggregate="before")
    assert labels(broker) == ["before"]
    monkeypatch.setattr(sending._breaker, "seconds", 600.0)
    tries, producer = list[float](), sending._producer

    def counted() -> Any:
        tries.append(time.monotonic())
        return producer()

    monkeypatch.setattr(sending, "_producer", counted)
    getattr(broker, how)()
    with in_time():
        for number in range(20):
            tell(str(number), aggregate=str(number))
    assert len(tries) == 1, "one caller finds out for all that it is away"
    pass_time()
    assert relay() == 0
    {"kill": broker.start, "freeze": broker.thaw}[how]()
    monkeypatch.setattr(sending._breaker, "seconds", 0.0)
    assert relay() == 21
    # What the frozen one had in its socket it may take as well: then that comes twice, and the
    # inbox drops it.
    assert set(labels(broker)) == {"before", *map(str, range(20))}


def test_what_the_broker_did_not_take_from_the_relay_is_due_at_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        tell(str(number), aggregate=str(number))
    labels(broker)
    pass_time()
    send = sending.send
    left = [2]

    def dies_after_two(task: str, queue: str | None = None, **arguments: Any) -> bool:
        if left[0] == 0:
            broker.kill()
        left[0] -= 1
        return send(task, queue, **arguments)

    monkeypatch.setattr(outbox, "send", dies_after_two)
    monkeypatch.setattr(sending._breaker, "seconds", 0.0)
    assert relay() == 0
    broker.start()
    assert len(labels(broker)) == 2
    assert relay() == 3
    assert len(labels(broker)) == 3
