"""The tasks of a worker whose connection breaks, and how the worker continues."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.common import ignore_errors
from scaleout.broker import transport as queue
from scaleout.events.tests.broker import Broker
from waiting import TIME_FACTOR


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    yield found
    found.end()


@pytest.fixture(autouse=True)
def _nothing_taken() -> Iterator[None]:
    queue._taken.clear()
    yield
    queue._taken.clear()


def test_two_channels_at_once_put_back_each_message_once() -> None:
    both, put, failed = threading.Barrier(2, timeout=5 * TIME_FACTOR), list[str](), list[BaseException]()
    queue._taken.extend((name, "", "celery") for name in ("one", "two"))

    def slowly(message: Any, _exchange: str, _routing_key: str) -> None:
        both.wait()  # as long as Redis takes to answer, the other is at it too
        put.append(message)

    def open_a_channel() -> None:
        try:
            queue.put_back(slowly)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=open_a_channel) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10 * TIME_FACTOR)
    assert not failed
    assert sorted(put) == ["one", "two"]
    assert not queue._taken


def test_a_message_that_could_not_be_put_back_is_kept() -> None:
    queue._taken.extend((name, "", "celery") for name in ("one", "two"))

    def refuse(*_: Any) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        queue.put_back(refuse)
    assert [one[0] for one in queue._taken] == ["one", "two"]


def take_what_comes(connection: Connection) -> None:
    while True:
        connection.drain_events(timeout=0.2)


def test_a_worker_whose_broker_is_killed_while_it_has_a_message_can_close_its_connection(broker: Broker) -> None:
    connection, taken = Connection(broker.url), list[Any]()
    tasks, orders = Queue("tasks"), Queue("orders", Exchange("orders", "fanout"), auto_delete=True)
    assert isinstance(connection.default_channel, queue.Channel)
    channel: Any = connection.default_channel
    Consumer(channel, [tasks], on_message=taken.append).consume()
    Producer(channel).publish({}, routing_key="tasks", declare=[tasks])
    Consumer(connection.channel(), [orders], on_message=taken.append).consume()
    while not taken:
        connection.drain_events(timeout=5 * TIME_FACTOR)
    with pytest.raises(TimeoutError):
        take_what_comes(connection)
    assert channel._in_poll, "it waits for the next one"
    broker.kill()
    # As Celery does when it has lost the broker.
    connection.collect()
    ignore_errors(connection, connection.close)
    # The task, which ends later, gets an error.
    with pytest.raises(connection.connection_errors):
        taken[0].ack()


def test_a_message_whose_acknowledgement_fails_does_not_keep_a_worker_from_reading(broker: Broker) -> None:
    connection, taken = Connection(broker.url), list[Any]()
    channel: Any = connection.default_channel
    channel.basic_qos(prefetch_count=1)  # a worker with one process
    tasks = Queue("tasks")
    Consumer(channel, [tasks], on_message=taken.append).consume()
    Producer(channel).publish({}, routing_key="tasks", declare=[tasks])
    while not taken:
        connection.drain_events(timeout=5 * TIME_FACTOR)
    assert not channel.qos.can_consume(), "its hands are full"
    broker.kill()
    with pytest.raises(connection.connection_errors):
        taken[0].ack()
    assert channel.qos.can_consume(), "else it never notices that its connection is lost"
