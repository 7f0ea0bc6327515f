"""The queue behind Sentinels: the loss of its primary while tasks are published."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest
from support.overlay import overlay
from support.probe import Probe
from support.settings import MAIN_NODES
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

SERVERS = ["redis-queue", "redis-queue-2", "redis-queue-3"]
SENTINELS = ["sentinel-1", "sentinel-2", "sentinel-3"]
WORKERS = ["worker", "users-worker", "orders-worker", "beat"]
WRITER = f"{','.join(MAIN_NODES)} target_session_attrs=read-write"
# For so many seconds a task every 20 ms, each counting under a name of its own: prints which were
# accepted.
PUBLISH = """
import sys
import time
import django
from config.celery import app
django.setup()
from shop.shared_state.tasks import count
run, until, number = sys.argv[1], time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < until:
    number += 1
    name = f"{run}-{number}"
    try:
        count.delay(name)
    except Exception as error:
        print("refused", name, type(error).__name__, error, flush=True)
    else:
        print("accepted", name, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def watched(stack: Stack) -> Iterator[Stack]:
    """The stack, whose workers have the queue that Sentinels watch."""
    with overlay(stack, "redis-sentinel", [*SERVERS, *SENTINELS], WORKERS):
        yield stack


def primary(probe: Probe) -> str:
    """Return the server that reports the role primary and a connected replica; "" if none does."""
    for server in SERVERS:
        info = probe.redis(server, "INFO", "replication")
        if "role:master" in info and "connected_slaves:0" not in info:
            return server
    return ""


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_every_accepted_task_is_done_after_a_loss_of_the_primary(watched: Stack, probe: Probe, how: str) -> None:
    run = f"tests-{secrets.token_hex(4)}"
    printed: list[str] = []

    def publish() -> None:
        command = ("python", "-c", PUBLISH, run, "20")
        printed.extend(watched.run_in("worker", *command, timeout=60).splitlines())

    def missing() -> set[str]:
        rows = probe.sql(WRITER, "shop", "shop_app", f"SELECT name FROM stateless_counter WHERE name LIKE '{run}-%'")
        return accepted - set(rows.splitlines())

    victim = eventually("a primary with replicas", lambda: primary(probe), within=30)
    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        done = f"SELECT count(*) FROM stateless_counter WHERE name LIKE '{run}-%'"
        eventually(
            "tasks to be done", lambda: int(probe.sql(WRITER, "shop", "shop_app", done)), lambda n: n > 50, within=20
        )
        getattr(watched, how)(victim)
        eventually("another primary", lambda: primary(probe), lambda seen: seen not in {"", victim}, within=20)
    finally:
        publisher.join()
        watched.start(victim)
    accepted = {line.split()[1] for line in printed if line.startswith("accepted ")}
    assert len(accepted) > 100, printed[-5:]
    assert printed[-1].startswith("accepted "), f"tasks are accepted again: {printed[-5:]}"
    # What a worker had taken when the connection broke is delivered again after a minute at the
    # latest, and some.
    eventually("every accepted task to be done", missing, lambda seen: not seen, within=100, interval=1)
    probe.sql(WRITER, "shop", "shop_app", f"DELETE FROM stateless_counter WHERE name LIKE '{run}-%'")
    eventually(
        "the lost server to follow",
        lambda: probe.redis(victim, "INFO", "replication"),
        lambda seen: "master_link_status:up" in seen,
        within=40,
    )


def test_a_queue_without_replicas_rejects_tasks(watched: Stack, probe: Probe) -> None:
    others = [one for one in SERVERS if one != eventually("a primary", lambda: primary(probe), within=40)]
    watched.stop(*others)
    try:
        printed = watched.run_in("worker", "python", "-c", PUBLISH, f"tests-{secrets.token_hex(4)}", "1", timeout=60)
        assert "accepted" not in printed, printed
        assert "refused" in printed, printed
    finally:
        watched.start(*others)
