"""A position travels with a task, from its sender to its worker."""

from __future__ import annotations

import json
import os
import time

import pytest
from celery import current_app, shared_task, signals
from django.db import connections
from django_redis import get_redis_connection

from scaleout.replication import lsn, state

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])


@shared_task(name="scaleout.replication.tests.position")
def position() -> int:
    """Return what this task's reads must have seen."""
    return state.current().after


def test_a_task_that_is_sent_after_a_write_carries_its_position() -> None:
    state.begin()
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written ()")
    queue = "replication-tests"
    with current_app.connection_for_write(f"redis+socket://{os.environ['TEST_REDIS']}") as broker:
        position.apply_async(queue=queue, connection=broker)  # type: ignore[call-arg]  # the stubs lack it
    assert not state.current().done.repeatable, "a second try would send it again"
    message = json.loads(get_redis_connection("default").lpop(queue))
    assert lsn.parse(message["headers"]["read_after"]) > 0


def test_a_task_reads_what_its_sender_has_written() -> None:
    state.begin()
    assert position.apply(headers={"read_after": "1/2"}).get() == lsn.parse("1/2")
    assert position.apply().get() == 0


@shared_task(name="scaleout.replication.tests.write")
def write() -> None:
    """Write."""
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written_by_task ()")


def test_a_task_that_is_run_eagerly_is_a_part_of_its_caller() -> None:
    state.begin(lsn.parse("1/3"))
    assert position.apply(headers={"read_after": "1/2"}).get() == lsn.parse("1/3")
    assert position.apply(headers={"read_after": "1/4"}).get() == lsn.parse("1/4")
    assert state.current().after == lsn.parse("1/3")
    assert not state.current().wrote
    write.apply().get()
    assert state.current().wrote
    position.apply().get()
    assert state.current().wrote


@pytest.mark.parametrize(("eager", "kept"), [(True, True), (False, False)])
def test_a_task_gives_connections_back_but_not_those_of_the_request_that_runs_it(
    monkeypatch: pytest.MonkeyPatch, *, eager: bool, kept: bool
) -> None:
    connection = connections["default"]
    connection.ensure_connection()
    monkeypatch.setattr(connection, "close_at", time.monotonic() - 1)  # what a request that ends gives back
    position.push_request(is_eager=eager)  # type: ignore[call-arg]  # the stubs lack it
    try:
        for signal in (signals.task_prerun, signals.task_postrun):
            signal.send(position, task=position)
            assert (connection.connection is not None) is kept
    finally:
        position.pop_request()
