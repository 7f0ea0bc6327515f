"""A mover that is killed: mover.py COMMAND STEP COUNT. SHARD_NAMES: the databases of the tests' map and shards.
OUTBOX: the table of the events, where there is one.

It kills itself when it reports STEP for the COUNTth time.
"""

from __future__ import annotations

import os
import signal
import sys

import django
from django.conf import settings

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.test_settings")
    django.setup()
    for alias, name in zip(["default", *settings.SHARDS.values()], os.environ["SHARD_NAMES"].split(","), strict=True):
        settings.DATABASES[alias]["NAME"] = name

    from scaleout.sharding.moving.steps import Mover
    from scaleout.sharding.tests.shelves import TABLES

    left = int(sys.argv[3])

    def report(what: str, _done: int, _of: int) -> None:
        """End here, as by kill -9."""
        global left  # noqa: PLW0603 - one process, one count
        if what == sys.argv[2]:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    names, outbox = [model._meta.db_table for model in TABLES], os.environ.get("OUTBOX")
    with Mover("default", settings.SHARDS, names, report, outbox=outbox) as mover:
        job = mover.unfinished() or mover.all()[-1]
        {"run": mover.run, "abort": mover.abort, "clean": mover.clean}[sys.argv[1]](job)
