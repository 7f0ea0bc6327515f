"""A worker of the application, with one task more: worker.py BROKER."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import django

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

    app.conf.update(broker_url=sys.argv[1])
    app.worker_main(["worker", "--concurrency", "1", "--queues", "tests", "--loglevel", "INFO",
                     "--without-gossip", "--without-mingle", "--without-heartbeat"])  # fmt: skip
