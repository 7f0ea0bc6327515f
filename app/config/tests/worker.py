"""A worker of the application, with some tasks more: worker.py BROKER QUEUES PROCESSES."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import django


def note(folder: str, name: str) -> Path:
    """Write down that a task has begun; the files sort in the order of their beginnings."""
    file = Path(folder) / "begun"
    with file.open("a") as begun:
        begun.write(f"{name}\n")
    return file


def wait_for(file: Path) -> None:
    """Wait until a test makes `file`."""
    while not file.exists():
        threading.Event().wait(0.05)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.test_settings")
    django.setup()

    from config.celery import app

    @app.task(name="tests.wait_at_first")
    def wait_at_first(folder: str) -> None:
        """Say which process this is. The first time wait to be killed; the second time say so."""
        again = any(Path(folder).iterdir())
        (Path(folder) / str(os.getpid())).touch()
        if again:
            (Path(folder) / "again").touch()
        else:
            threading.Event().wait(600)

    @app.task(name="tests.begin")
    def begin(folder: str, name: str, until: str = "") -> None:
        """Say that it has begun, and wait for a file."""
        note(folder, name)
        if until:
            wait_for(Path(folder) / until)

    @app.task(name="tests.die")
    def die(folder: str) -> None:
        """End this process as if by the kernel, unless there is a file that says otherwise."""
        note(folder, "die")
        if not (Path(folder) / "mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    broker, queues, processes = sys.argv[1:4]
    # A worker that reads nothing but its queues; and that looks for a lost process each second.
    app.conf.update(broker_url=broker, worker_direct=False, worker_lost_wait=1.0)
    app.worker_main(["worker", "--concurrency", processes, "--queues", queues, "--loglevel", "INFO",
                     "--without-gossip", "--without-mingle", "--without-heartbeat"])  # fmt: skip
