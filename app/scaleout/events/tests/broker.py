"""A Redis of the test's own, which can be killed and frozen, and workers that take from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from celery import current_app
from celery.app.routes import prepare
from django.conf import settings
from django.db import connections
from waiting import eventually

import redis

APP = Path(__file__).parents[3]


def route(queue: str | None) -> None:
    """Send the events of the tests to `queue`; None: as the settings say."""
    amqp: Any = current_app.amqp
    names = ("scaleout.events.tests.*", "elsewhere.*")
    routes: Any = {key: {"queue": queue} for key in names} if queue else current_app.conf.task_routes
    amqp._rtable = prepare(routes)
    amqp.router = amqp.Router()


class Broker:
    """A Redis that keeps what it has in a file, as the queue's does, but each message before it
    answers.

    The queue's writes to its disk once a second, and can lose what it took just before it was
    killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"redis+socket://{self.socket}"
        self.start()

    def start(self) -> None:
        """Start it, with what was in it."""
        command = f"redis-server --port 0 --unixsocket {self.socket} --save '' --dir {self.folder}"
        keeping = "--appendonly yes --appendfsync always"
        self._process = subprocess.Popen(["sh", "-c", f"exec {command} {keeping}"], stdout=subprocess.DEVNULL)
        eventually(self._answers, 10, "Redis to answer")

    @property
    def client(self) -> redis.Redis:
        """A connection of the test's own."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2)

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def length(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        with self.client as client:
            return int(client.llen(queue))

    def holds(self) -> int:
        """Return how many messages workers have taken and not yet done."""
        with self.client as client:
            return int(client.hlen("unacked"))

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Take all messages out of a queue, and return what each is about, the first first."""
        return [_arguments(one) for one in self.envelopes(queue)]

    def envelopes(self, queue: str) -> list[dict[str, Any]]:
        """The same, with their headers."""
        with self.client as client:
            found = [json.loads(one) for one in reversed(client.lrange(queue, 0, -1))]
            client.delete(queue)
        return found

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Pause the process: it accepts connections and answers none."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Stop it for good."""
        self.thaw()
        self.kill()


def _arguments(message: dict[str, Any]) -> dict[str, Any]:
    import base64  # noqa: PLC0415

    _, arguments, _ = json.loads(base64.b64decode(message["body"]))
    return dict(arguments)


def environment(broker: Broker) -> dict[str, str]:
    """Return what a process needs to find the databases and the broker of a test."""
    names = {alias: connections[alias].settings_dict["NAME"] for alias in settings.DATABASE_APPS}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NAMES": json.dumps(names), "BROKER": broker.url}


class Worker:
    """A Celery worker with one process, which takes the tasks of events/tests/tasks.py and the
    answers to them.
    """

    def __init__(self, broker: Broker, queues: str = "celery") -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is open for as long as the worker runs
        self._process = subprocess.Popen(
            [sys.executable, str(APP / "scaleout" / "events" / "tests" / "process.py"), "work"],
            env=environment(broker) | {"QUEUES": queues},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be killed with it
        )

    def kill(self) -> None:
        """End it and its child, as if the container had been killed."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.log.close()

    def output(self) -> str:
        """Return what it has logged."""
        self.log.seek(0)
        return self.log.read()
