# ruff: noqa: S608 - our own tables
"""Moves of the bucket of an author: run, broken off, resumed, aborted and cleaned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import connections

from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.ids import FIRST
from scaleout.sharding.models import Bucket
from scaleout.sharding.moving.session import LOCK, MoveError
from scaleout.sharding.moving.state import OVER, Job, Step
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.comparison.twins import NAMES, PLAIN, SHARDED, TWINS

BUCKETS = 6  # that rows of the test are in


class FrozenError(Exception):
    """The mover ends at once and puts nothing back, as by kill -9."""


class Moves:
    """The moves of one example. There is one at a time."""

    def __init__(self) -> None:
        self.at: tuple[int, str] | None = None  # the report at which the mover is broken off, and how
        self.then: Callable[[], None] = lambda: None  # what happens at the report before
        self._reports = 0
        self._job: Job | None = None

    @property
    def unfinished(self) -> bool:
        """Return whether a move is under way."""
        return self._job is not None and self._job.step not in OVER

    @property
    def shown_nowhere(self) -> set[int]:
        """Return the buckets that no shard shows: for a moment after the flip, between source and
        target.
        """
        job = self._job
        if job is None or job.step != Step.FLIPPED:
            return set()
        shown = [Bucket.objects.using(alias).filter(state__in=Bucket.SHOWN) for alias in conf().shards.values()]
        return set(job.buckets).difference(*(one.values_list("bucket", flat=True) for one in shown))

    def start(self, bucket: int, target: int) -> None:
        """Plan one and run it."""
        source = shard_map.current().number(bucket)
        if self.unfinished or source == target:
            return
        self._with(lambda mover: mover.run(mover.start(source, target, [bucket])))

    def resume(self) -> None:
        """Run what is left of it."""
        if self.unfinished:
            self._with(lambda mover: mover.run(mover.unfinished() or mover.all()[-1]))

    def abort(self) -> None:
        """Put everything back, unless it is too late."""
        if self.unfinished:
            self._with(lambda mover: mover.abort(mover.unfinished() or mover.all()[-1]))

    def clean(self) -> None:
        """Delete what all moves have left behind."""

        def all_of_them(mover: Mover) -> None:
            for job in mover.all():
                if job.step == Step.ACTIVE:
                    mover.clean(job)

        if not self.unfinished:
            self._with(all_of_them)

    def end(self) -> None:
        """End it and clean up, without a disturbance."""
        self.at, self.then = None, lambda: None
        self.resume()
        assert not self.unfinished
        self.clean()

    def _with(self, act: Callable[[Mover], Any]) -> None:
        self._reports = 0
        try:
            with (
                suppress(FrozenError, MoveError),
                Mover("default", conf().shards, NAMES, self._report) as mover,
            ):
                act(mover)
        finally:
            jobs = Mover.look("default")
            self._job = jobs[-1] if jobs else None

    def _report(self, _step: str, _done: int, _of: int) -> None:
        jobs = Mover.look("default")
        self._job = jobs[-1] if jobs else None
        self._reports += 1
        number, how = self.at or (0, "")
        if self._reports == number:
            self.then()
            if how == "frozen":
                raise FrozenError
            if how:
                lose(how)


def lose(alias: str) -> None:
    """End the mover's connection to a database."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            f" WHERE locktype = 'advisory' AND objid = {LOCK} AND datname = %s",
            [connections[alias].settings_dict["NAME"]],
        )


def reset() -> None:
    """Begin an example: no rows, no moves, the test's buckets where the first fill puts them."""
    replica = "SET LOCAL session_replication_role = replica"
    numbers = ", ".join(str(bucket) for bucket in range(BUCKETS))
    for number, alias in conf().shards.items():
        home = [bucket for bucket in range(BUCKETS) if bucket % len(conf().shards) == number]
        statements = [
            replica,
            *(f"DELETE FROM {model._meta.db_table}" for model in SHARDED.values()),
            "DELETE FROM sharding_change",
            f"DELETE FROM sharding_bucket WHERE bucket IN ({numbers})",
            "INSERT INTO sharding_bucket (bucket, state, last, base)"
            f" SELECT bucket, 'active', 0, {FIRST} FROM unnest(ARRAY{home}) AS bucket",
        ]
        _run(alias, statements)
    _run("default", ["DELETE FROM sharding_movebucket", "DELETE FROM sharding_move"])
    _run(
        "default",
        [f"UPDATE sharding_bucketmap SET shard = bucket % {len(settings.SHARDING['SHARDS'])} WHERE bucket < {BUCKETS}"],
    )
    _run(PLAIN, [replica, *(f"DELETE FROM {model._meta.db_table}" for model in TWINS.values())])
    shard_map.forget()


def _run(alias: str, statements: list[str]) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN; " + "; ".join(statements) + "; COMMIT")
