"""In which order a worker takes from its queues, what it leaves room for, and what it gives up.
With real workers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from scaleout.broker.transport import DELIVERIES
from scaleout.events.tests.broker import Broker
from waiting import eventually

from config import celery

START = 120.0  # seconds that a worker may take until it works
KINDS = ("answers", "events", "tasks", "bulk")
QUEUES = ",".join(f"shop.{kind}" for kind in KINDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (found := tmp_path / "said").mkdir()
    return found


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    found, before = Broker(tmp_path), current_app.conf.broker_url
    current_app.conf.update(broker_url=found.url)
    monkeypatch.setattr(celery.app, "_pool", None)
    monkeypatch.setattr(celery.app.amqp, "_producer_pool", None)
    yield found
    current_app.conf.update(broker_url=before)
    found.end()


type Start = Callable[[int], subprocess.Popen[bytes]]


@pytest.fixture
def start(broker: Broker) -> Iterator[Start]:
    """A function that starts a worker with so many processes."""
    running: list[subprocess.Popen[bytes]] = []
    program = [sys.executable, str(Path(__file__).with_name("worker.py")), broker.url, QUEUES]

    def begin(processes: int) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        running.append(subprocess.Popen([*program, str(processes)], env=environment, start_new_session=True))
        return running[-1]

    yield begin
    for worker in running:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def begun(folder: Path) -> list[str]:
    file = folder / "begun"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def send(task: str, *arguments: Any, queue: str) -> str:
    return str(current_app.send_task(task, arguments, queue=f"shop.{queue}").id)


def manage(*arguments: str) -> str:
    out = StringIO()
    call_command("tasks", *arguments, stdout=out)
    return out.getvalue()


def test_what_is_urgent_comes_first(broker: Broker, start: Start, folder: Path) -> None:
    for number in range(2):
        for queue in ("bulk", "tasks", "events", "answers"):
            send("tests.begin", str(folder), f"{queue} {number}", queue=queue)
    start(1)
    eventually(lambda: len(begun(folder)) == 8, START, "all to be done")
    assert begun(folder) == [f"{queue} {number}" for queue in KINDS for number in range(2)]


def test_slow_tasks_leave_a_process_to_what_is_urgent(broker: Broker, start: Start, folder: Path) -> None:
    start(2)
    for number in range(3):
        send("tests.begin", str(folder), f"image {number}", "ready", queue="tasks")
    eventually(lambda: begun(folder) == ["image 0"], START, "the first slow one to begin")
    for number in range(5):
        send("tests.begin", str(folder), f"order {number}", queue="events")
        eventually(lambda: begun(folder)[-1] == f"order {number}", START, "an order beside it")  # noqa: B023
    assert begun(folder) == ["image 0", *(f"order {number}" for number in range(5))]
    (folder / "ready").touch()
    eventually(lambda: len(begun(folder)) == 8, START, "the others to follow")


def test_a_task_that_kills_its_process_is_set_aside_for_a_person(broker: Broker, start: Start, folder: Path) -> None:
    worker = start(1)
    deadly = send("tests.die", str(folder), queue="tasks")
    eventually(lambda: broker.length("shop.dead") == 1, START, "the task to be set aside")
    send("tests.begin", str(folder), "another", queue="tasks")
    eventually(lambda: "another" in begun(folder), START, "another one to be done")
    assert (begun(folder), worker.poll()) == (["die"] * DELIVERIES + ["another"], None)
    eventually(lambda: not broker.holds(), START, "the last one to be acknowledged")
    assert broker.length("shop.tasks") == 0

    said = manage("dead")
    assert f"{deadly} tests.die of shop.tasks, given back {DELIVERIES} times: ('{folder}',)" in said
    assert said.endswith("dead: 1\n")
    with pytest.raises(CommandError, match="name the ids to drop"):
        manage("drop")
    with pytest.raises(CommandError, match="none of these"):
        manage("resend", "no-such-id")
    (folder / "mended").touch()
    assert manage("resend", deadly) == "resend: 1\n"
    eventually(lambda: begun(folder).count("die") == DELIVERIES + 1, START, "it to be done at last")
    assert manage("dead") == "dead: 0\n"


def test_what_is_dropped_is_gone(broker: Broker) -> None:
    with broker.client as client:
        for name in ("one", "two"):
            headers = {"id": name, "task": "t", "deliveries": 5}
            message = json.dumps({"headers": headers, "properties": {"delivery_info": {"routing_key": "shop.tasks"}}})
            client.lpush("shop.dead", message)
    assert manage("drop", "one") == "drop: 1\n"
    with broker.client as client:
        assert [b'"two"' in one for one in client.lrange("shop.dead", 0, -1)] == [True]


def test_a_full_queue_loses_no_task_and_ends_no_worker(broker: Broker, start: Start, folder: Path) -> None:
    for number in range(3):
        send("tests.begin", str(folder), str(number), queue="tasks")
    with broker.client as client:
        for queue in KINDS:  # known from an earlier start
            exchange = f"_kombu.binding.shop.{queue}"
            for key in (exchange, exchange.replace("binding", "binding.permanent")):
                client.sadd(key, f"shop.{queue}\x06\x16\x06\x16shop.{queue}")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) // 2)
        with pytest.raises(Exception, match="maxmemory"):
            client.lpush("shop.tasks", "no more")
    worker = start(1)
    eventually(lambda: begun(folder) == ["0", "1", "2"], START, "the worker to do what waits")
    with broker.client as client:
        client.config_set("maxmemory", 0)
    send("tests.begin", str(folder), "3", queue="tasks")
    eventually(lambda: "3" in begun(folder), START, "what comes when there is room again")
    assert (begun(folder), worker.poll()) == (["0", "1", "2", "3"], None)
    eventually(lambda: not broker.holds(), START, "the last one to be acknowledged")
