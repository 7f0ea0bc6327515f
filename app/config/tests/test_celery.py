"""The messages that workers get, and the settings that they know."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import current_app
from django.conf import settings
from scaleout.events.tests.broker import Broker
from waiting import eventually

import redis
from config.celery import app, send_pulse


@pytest.fixture(autouse=True)
def _tasks() -> None:
    current_app.loader.import_default_modules()  # as a worker does


def test_every_consumer_in_the_settings_is_a_task() -> None:
    consumers = {one for some in settings.EVENTS["CONSUMERS"].values() for one in some}
    assert consumers
    assert consumers <= app.tasks.keys()


def test_no_task_asks_by_itself_for_a_retry_that_only_a_database_can_keep() -> None:
    """A retry after a lost database cannot be kept there until it is due."""
    tasks: dict[str, Any] = app.tasks
    asking = {name: task.retry_backoff_max for name, task in tasks.items() if hasattr(task, "retry_backoff")}
    assert asking == {"stateless.tasks.count": 30}
    assert app.longest.total_seconds() == 30


@pytest.mark.django_db
def test_the_relay_does_not_wait_behind_what_waits_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with the pulse, to the queue that each worker reads beside its service's."""
    monkeypatch.setattr(app, "_pool", None)  # whatever broker an earlier test had
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    client: Any = redis.Redis(unix_socket_path=urlsplit(settings.QUEUE_URL).path, db=1)
    client.delete("tests-direct")
    send_pulse("tests-direct")
    sent = [json.loads(one)["headers"]["task"] for one in client.lrange("tests-direct", 0, -1)]
    client.delete("tests-direct")
    assert sorted(sent) == ["config.pulse", "events.relay"]
    assert "events.relay" not in {one["task"] for one in app.conf.beat_schedule.values()}


def test_a_task_whose_process_is_killed_is_run_again(tmp_path: Path) -> None:
    (folder := tmp_path / "said").mkdir()
    broker = Broker(tmp_path)
    program = [sys.executable, str(Path(__file__).with_name("worker.py")), broker.url, "tests", "1"]
    worker = subprocess.Popen(
        program, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True
    )
    try:
        with app.connection_for_write(broker.url) as connection:
            app.send_task("tests.wait_at_first", [str(folder)], queue="tests", connection=connection)
        eventually(lambda: list(folder.iterdir()), 60, "the task to begin")
        os.kill(int(next(folder.iterdir()).name), signal.SIGKILL)
        eventually((folder / "again").exists, 60, "the task to run again")
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        broker.end()
