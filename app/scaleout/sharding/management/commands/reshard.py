"""Move buckets between the shards of a context while users write: plan, move, resume, status,
abort, clean.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from scaleout.sharding.conf import conf
from scaleout.sharding.ids import BUCKETS
from scaleout.sharding.moving.bar import Bar
from scaleout.sharding.moving.plan import Wanted, even, grouped, holders, parse, rows_of
from scaleout.sharding.moving.session import MoveError, one_line
from scaleout.sharding.moving.state import OVER, Job, Step, ranges
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.registry import models_on, outbox_table

AT_ONCE = 128  # buckets whose writes are refused at the same time


class Command(BaseCommand):
    """The command `reshard`."""

    help = "Move buckets between shards while users write. docs/resharding.md explains it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the action and its options."""
        parser.add_argument("action", choices=["plan", "move", "resume", "status", "abort", "clean"])
        parser.add_argument("--context", help="the alias of the database with the map; optional if only one exists")
        parser.add_argument("--buckets", help="move: the buckets, such as 0-99,200")
        parser.add_argument("--to", type=int, help="move: the number of the target shard")
        parser.add_argument("--plan", action="store_true", help="move: the buckets that `plan` prints")
        parser.add_argument("--by", choices=["rows", "buckets"], default="rows", help="plan: what to balance")
        parser.add_argument("--without", type=int, help="plan: the number of a shard to empty")
        parser.add_argument("--at-once", type=int, default=AT_ONCE, help=f"move: buckets in one move ({AT_ONCE})")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the action. A failure is one line."""
        context, shards = _group(options["context"])
        self._context, self._shards = context, shards
        self._tables = [model._meta.db_table for model in models_on(next(iter(shards.values())))]
        self._bar = Bar()
        action = options["action"]
        if action != "move" and (options["buckets"] or options["to"] is not None or options["plan"]):
            raise CommandError(f"--buckets, --to and --plan are for move, not for {action}")
        try:
            getattr(self, f"_{action}")(options)
        except (MoveError, Error, psycopg.Error) as error:
            self._bar.end()
            raise CommandError(one_line(error)) from error
        except KeyboardInterrupt:
            self._bar.end()
            raise CommandError("interrupted: `reshard resume` continues, `reshard abort` undoes it") from None

    def _mover(self) -> Mover:
        return Mover(self._context, self._shards, self._tables, self._bar, outbox=outbox_table())

    def _wanted(self, options: dict[str, Any]) -> list[Wanted]:
        without = options["without"]
        if without is not None and (without not in self._shards or len(self._shards) == 1):
            raise CommandError(f"--without {without}: there are only the shards {ranges(self._shards)}")
        held = self._held()
        ones = dict.fromkeys(held, 1)
        weights = ones if options["by"] == "buckets" else rows_of(self._shards, held, self._tables)
        return even(sorted(self._shards), held, weights, without)

    def _held(self) -> dict[int, int]:
        held = holders(self._context)
        if len(held) != BUCKETS or not set(held.values()) <= set(self._shards):
            raise CommandError(f"the map in {self._context} is incomplete, or names unknown shards: run prepare")
        return held

    # ── actions ───────────────────────────────────────────────────────────────────────────────────
    def _plan(self, options: dict[str, Any]) -> None:
        held = self._held()
        rows = rows_of(self._shards, held, self._tables)
        for number in sorted(self._shards):
            mine = [bucket for bucket, shard in held.items() if shard == number]
            self.stdout.write(f"shard {number}: {len(mine)} buckets, {sum(rows[bucket] for bucket in mine)} rows")
        wanted = self._wanted(options)
        for one in wanted:
            self.stdout.write(
                f"reshard move --context {self._context} --buckets {ranges(one.buckets)} --to {one.target}"
                f"    # {len(one.buckets)} buckets, {sum(rows[bucket] for bucket in one.buckets)} rows,"
                f" from shard {one.source}"
            )
        if not wanted:
            self.stdout.write(f"nothing to move: the {options['by']} are even")

    def _move(self, options: dict[str, Any]) -> None:
        if options["at_once"] < 1:
            raise CommandError("--at-once must be 1 or more")
        with self._mover() as mover:
            if one := mover.unfinished():
                raise MoveError(f"{one} is unfinished ({one.step}): `reshard resume` or `reshard abort` it first")
            for one_move in self._moves(options):
                for first in range(0, len(one_move.buckets), options["at_once"]):
                    part = one_move.buckets[first : first + options["at_once"]]
                    self._finish(mover, mover.start(one_move.source, one_move.target, part))

    def _moves(self, options: dict[str, Any]) -> list[Wanted]:
        if options["plan"]:
            if options["buckets"] or options["to"] is not None:
                raise CommandError("either --plan, or --buckets and --to")
            wanted = self._wanted(options)
        else:
            if options["without"] is not None:
                raise CommandError("--without is for --plan")
            if not options["buckets"] or options["to"] is None:
                raise CommandError("say which --buckets to move --to which shard, or --plan")
            if options["to"] not in self._shards:
                raise CommandError(f"there is no shard {options['to']}: there are {ranges(self._shards)}")
            try:
                buckets = parse(options["buckets"])
            except ValueError:
                raise CommandError(
                    f"--buckets {options['buckets']}: must be numbers from 0 to {BUCKETS - 1}, as in 0-99,200"
                ) from None
            wanted = grouped(self._held(), buckets, options["to"])
        if not wanted:
            self.stdout.write("nothing to move: the shard holds these buckets already")
        return wanted

    def _finish(self, mover: Mover, job: Job) -> None:
        mover.run(job)
        self._bar.end()
        if job.step == Step.ABORTED:
            self.stdout.write(f"{job}: aborted, all is as it was")
        else:
            self.stdout.write(f"{job}: done. Writes to these buckets waited {job.pause or 0:.2f} s")

    def _resume(self, _options: dict[str, Any]) -> None:
        with self._mover() as mover:
            job = mover.unfinished()
            if job is None:
                self.stdout.write("nothing to resume")
            else:
                self._finish(mover, job)

    def _status(self, _options: dict[str, Any]) -> None:
        jobs = Mover.look(self._context)
        for job in jobs:
            pause = "" if job.pause is None else f", writes waited {job.pause:.2f} s"
            self.stdout.write(f"{job}: {job.step}{pause}")
        if not jobs:
            self.stdout.write("nothing was ever moved")
        elif any(job.step not in OVER for job in jobs):
            self.stdout.write("unfinished: `reshard resume` continues, unless a mover is at work")

    def _abort(self, _options: dict[str, Any]) -> None:
        with self._mover() as mover:
            job = mover.unfinished() or next((one for one in reversed(mover.all()) if one.step == Step.ACTIVE), None)
            if job is None:
                self.stdout.write("nothing to abort")
                return
            mover.abort(job)
        self._bar.end()
        self.stdout.write(f"{job}: aborted, all is as it was")

    def _clean(self, _options: dict[str, Any]) -> None:
        with self._mover() as mover:
            jobs = [job for job in mover.all() if job.step == Step.ACTIVE]
            for job in jobs:
                mover.clean(job)
                self._bar.end()
                self.stdout.write(f"{job}: cleaned, shard {job.source} no longer has a copy")
        if not jobs:
            self.stdout.write("nothing to clean")


def _group(context: str | None) -> tuple[str, Mapping[int, str]]:
    groups = conf().groups
    names = ", ".join(sorted(groups))
    if context is None and len(groups) == 1:
        return next(iter(groups.items()))
    if context is None:
        raise CommandError(f"say which --context: {names}" if groups else "there are no shards here: SERVICE=migrate")
    if context not in groups:
        raise CommandError(f"there is no context {context}: there are {names}")
    return context, groups[context]
