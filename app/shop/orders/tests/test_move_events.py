"""The events of a user are received in order, also if the user's bucket moves in between."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from queue import Empty, Queue
from uuid import UUID

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django import Settings
from scaleout.events import outbox
from scaleout.events.models import Outbox, databases
from scaleout.events.outbox import publish
from scaleout.events.statements import FAILURES
from scaleout.sharding import shard_map, transactions
from scaleout.sharding.ids import bucket_of, compose
from scaleout.sharding.moving import steps
from scaleout.sharding.transactions import fenced, shard_atomic
from waiting import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards", "_patient"),
]
CONSUMER = "elsewhere.tasks.handle"


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Long time-outs: mover, writers and consumers share one interpreter."""
    monkeypatch.setattr(transactions, "PATIENCE", 20.0)
    monkeypatch.setattr(steps, "BUDGET", 8.0)
    settings.EVENTS = {"CONSUMERS": {"renamed": [CONSUMER]}, "HEADERS": "scaleout.observability.trace.headers"}


class Consumer:
    """A broker with the workers of another service: each message takes a while, some take long."""

    def __init__(self, slow: float = 0.0) -> None:
        self.received: dict[str, list[int]] = defaultdict(list)
        self.open = threading.Event()  # while it is not set nothing is received
        self._slow = slow
        self._messages: Queue[dict[str, object]] = Queue()
        self._seen: set[object] = set()
        self._stop = threading.Event()

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the broker; its queues are never full."""
        monkeypatch.setattr(outbox, "send", self.send)
        monkeypatch.setattr(outbox, "room", lambda *_, **__: True)

    def send(self, _task: str, _queue: str, **arguments: dict[str, object]) -> bool:
        """Accept a message as a broker does."""
        self._messages.put(arguments["event"])
        return True

    def work(self) -> None:
        """Receive events and send acknowledgements."""
        dice = random.Random()
        try:
            while not self._stop.is_set():
                try:
                    event = self._messages.get(timeout=0.05)
                except Empty:
                    continue
                if dice.random() < 0.1:
                    time.sleep(self._slow)  # this consumer is slow: nothing is waited for
                self.open.wait(60)
                if event["id"] not in self._seen:
                    self._seen.add(event["id"])
                    self.received[str(event["aggregate"])].append(event["data"]["number"])  # type: ignore[index]
                outbox.received(str(event["outbox"]), UUID(str(event["id"])), CONSUMER)
        finally:
            connections.close_all()

    @contextmanager
    def working(self, count: int) -> Iterator[None]:
        """Run `count` threads during the block."""
        threads = [threading.Thread(target=self.work) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.open.set()
            self._stop.set()
            for thread in threads:
                thread.join(30)


def rename(user: int, number: int) -> None:
    """Change a user and publish an event."""

    def once() -> None:
        with shard_atomic(user) as shard:
            apps.get_model("users", "User").objects.filter(pk=user).update(name=str(number))
            publish("renamed", aggregate=f"user:{user}", using=shard, number=number)

    fenced(once)


def make_users(count: int) -> list[int]:
    model = apps.get_model("users", "User")
    buckets = shard_map.current().buckets_of(0)[:count]
    users = [compose(1, bucket) for bucket in buckets]
    model.objects.bulk_create([model(id=user, email=f"{user}@example.org", name="u") for user in users])
    return users


def move(users: list[int]) -> str:
    out = StringIO()
    call_command(
        "reshard", "move", "--buckets", ",".join(str(bucket_of(user)) for user in users), "--to", "2", stdout=out
    )
    return out.getvalue()


def all_received() -> bool:
    return not any(Outbox.objects.using(alias).exists() for alias in databases())


def test_events_are_received_in_order_while_many_buckets_move_under_their_writers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Consumer(slow=1.5)
    consumer.open.set()
    consumer.take_over(monkeypatch)
    users = make_users(30)
    counts = dict.fromkeys(users, 0)
    stop = threading.Event()
    wrong: list[str] = []

    def write(mine: list[int]) -> None:
        try:
            while not stop.wait(0.03):
                user = random.choice(mine)
                rename(user, counts[user])
                counts[user] += 1
        except Exception as error:
            wrong.append(repr(error))
        finally:
            connections.close_all()

    writers = [threading.Thread(target=write, args=[users[one::3]]) for one in range(3)]
    with consumer.working(16):
        for thread in writers:
            thread.start()
        move(users)
        stop.wait(1.0)  # what is written there overtakes, if anything can
        stop.set()
        for thread in writers:
            thread.join(60)
        eventually(all_received, 30, "all events to be received")
    assert wrong == []
    assert {user: consumer.received[f"user:{user}"] for user in users} == {
        user: list(range(count)) for user, count in counts.items()
    }
    shard_map.current().expire()
    assert {shard_map.current().number(bucket_of(user)) for user in users} == {2}


def test_a_move_waits_for_an_unavailable_consumer_and_writes_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer()
    consumer.take_over(monkeypatch)
    (user,) = make_users(1)
    rename(user, 0)
    monkeypatch.setattr(steps, "DELIVERY", 0.5)
    with consumer.working(2):
        with pytest.raises(CommandError, match=r"1 on their way, 0 parked \(of the buckets 0\)"):
            move([user])
        rename(user, 1)  # behind the first, on the old shard
        assert consumer.received == {}
        consumer.open.set()
        monkeypatch.setattr(steps, "DELIVERY", 60.0)
        call_command("reshard", "resume", stdout=StringIO())
        rename(user, 2)
        eventually(all_received, 10, "all events to be received")
    assert consumer.received == {f"user:{user}": [0, 1, 2]}
    assert shard_map.current().number(bucket_of(user)) == 2


def test_a_parked_event_stops_the_move_until_a_person_has_looked_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer()
    consumer.open.set()
    consumer.take_over(monkeypatch)
    (user,) = make_users(1)
    rename(user, 0)
    rename(user, 1)
    first = Outbox.objects.using("shard0").earliest("id")
    for _ in range(FAILURES):
        outbox.failed("shard0", first.event_id, CONSUMER, "no good", counts=True)
    with pytest.raises(CommandError, match=r"1 on their way, 1 parked .* Resend or discard what is parked"):
        move([user])
    call_command("events", "discard", str(first.event_id), stdout=StringIO())
    with connections["shard0"].cursor() as cursor:
        cursor.execute("UPDATE events_outbox SET due_at = clock_timestamp()")
    due, _ = outbox.claim("shard0", [outbox.Want(CONSUMER, bulk=False, limit=10, taken=True, heard=True)])
    outbox.dispatch("shard0", due)
    with consumer.working(1):
        call_command("reshard", "resume", stdout=StringIO())
        rename(user, 2)
        eventually(all_received, 10, "all events to be received")
    assert consumer.received[f"user:{user}"][-2:] == [1, 2]
