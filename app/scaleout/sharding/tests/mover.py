"""A mover that is killed: it kills itself when it reports a step for so many times."""

from __future__ import annotations

import os
import signal

from django.conf import settings

from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import TABLES


def main(databases: list[str], command: str, step: str, count: int) -> None:
    """Run, abort or clean the unfinished move until it reports `step` for the `count`th time.

    `databases`: those of the tests' map and shards. OUTBOX in the environment: the table of the
    events.
    """
    for alias, name in zip(["default", *settings.SHARDING["SHARDS"].values()], databases, strict=True):
        settings.DATABASES[alias]["NAME"] = name
    left = count

    def report(what: str, _done: int, _of: int) -> None:
        """End here, as by kill -9."""
        nonlocal left
        left -= what == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    names, outbox = [model._meta.db_table for model in TABLES], os.environ.get("OUTBOX")
    with Mover("default", settings.SHARDING["SHARDS"], names, report, outbox=outbox) as mover:
        job = mover.unfinished() or mover.all()[-1]
        {"run": mover.run, "abort": mover.abort, "clean": mover.clean}[command](job)
