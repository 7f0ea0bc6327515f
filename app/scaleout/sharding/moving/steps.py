"""The steps of a move. Each can be interrupted anywhere and repeated; repeating one changes nothing
twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import psycopg

from scaleout.sharding.moving import index
from scaleout.sharding.moving.cleanup import discard, release
from scaleout.sharding.moving.copy import Table, catch_up, copy_bucket, find_tables
from scaleout.sharding.moving.locks import LOCK_TIMEOUT, REST, TOO_SLOW, TRIES, change, limited
from scaleout.sharding.moving.migrated import changed_there, refuse_migrated
from scaleout.sharding.moving.outbox import Left, Outbox
from scaleout.sharding.moving.session import Connection, MoveError, Sessions, connect, one_line
from scaleout.sharding.moving.state import (
    BEFORE_THE_FLIP,
    OVER,
    Job,
    Step,
    create,
    go,
    jobs,
    not_copied,
    ranges,
    set_copied,
)
from scaleout.sharding.moving.verify import differing, differing_rows
from scaleout.sharding.shard_map import LEASE, REASSIGN

BUDGET = 0.7  # seconds from the first blocked bucket to the end of the comparison; the wait for the map comes after
WAIT = LEASE + 0.1  # seconds after the flip until no process has the old map
FEW = 200  # changes that may be left when the buckets are blocked
ROUNDS = 50  # of catch-up
COPIES = 3  # of a bucket whose rows differ
DELIVERY = 60.0  # seconds for the events in the source's outbox before its buckets are blocked
LOOK = 0.2  # seconds between two looks into the outbox; while buckets are blocked a tenth of it
WRITING = (Step.PLANNED, Step.COPYING, Step.CATCHING_UP)  # the source takes writes


def _nothing(_what: str, _done: int, _of: int) -> None:
    """Report nothing."""


class Mover:
    """Moves buckets of the context whose map is in the database `context`.

    `tables`: the sharded tables, each after those that its foreign keys name. `report` gets the
    step, how much of it is done, and of how much; an exception of it interrupts the move. `outbox`:
    the table of the events of each shard, with the columns `id`, `bucket` and `parked_at`; the map
    changes when those of the buckets are gone.
    """

    def __init__(
        self,
        context: str,
        shards: Mapping[int, str],
        tables: Sequence[str],
        report: Callable[[str, int, int], None] = _nothing,
        *,
        outbox: str | None = None,
    ) -> None:
        self._alias, self._shards, self._names, self._report = context, shards, tables, report
        self._outbox = None if outbox is None else Outbox(outbox)
        self._sessions = Sessions()
        self._slow = self._differed = 0
        # The rows that were copied again since all others were compared; None before that. A
        # resumed move does not know them, and compares all rows again.
        self._touched: dict[str, set[int]] | None = None

    def __enter__(self) -> Self:
        """Become the only mover of the context. Raises MoveError if another one is at work."""
        self._sessions[self._alias]  # its lock
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connections."""
        self._sessions.close()

    @property
    def _context(self) -> Connection:
        return self._sessions[self._alias]

    def _source_and_target(self, job: Job) -> tuple[Connection, Connection]:
        return self._sessions[self._shards[job.source]], self._sessions[self._shards[job.target]]

    def _tables(self, job: Job) -> list[Table]:
        if job.step in BEFORE_THE_FLIP:
            refuse_migrated(*self._source_and_target(job), job.buckets)
        return find_tables(*self._source_and_target(job), self._names)

    # ── the commands ──────────────────────────────────────────────────────────────────────────────
    def unfinished(self) -> Job | None:
        """Return the unfinished move, if any."""
        return next(iter(jobs(self._context, set(Step) - set(OVER))), None)

    def all(self) -> list[Job]:
        """Return all moves."""
        return jobs(self._context, Step)

    @staticmethod
    def look(context: str) -> list[Job]:
        """Return all moves, also while a mover is at work."""
        with connect(context) as connection:
            return jobs(connection, Step)

    def start(self, source: int, target: int, buckets: Sequence[int]) -> Job:
        """Plan a move. Raises MoveError for an impossible one, and while another one is
        unfinished.
        """
        if one := self.unfinished():
            raise MoveError(f"{one} is unfinished ({one.step}): `reshard resume` or `reshard abort` it first")
        if source == target or target not in self._shards or source not in self._shards:
            raise MoveError(f"there is nothing to move from shard {source} to {target}")
        # Both shards exist and have the tables: else the move could not end.
        find_tables(self._sessions[self._shards[source]], self._sessions[self._shards[target]], self._names)
        if self._outbox is not None:
            self._outbox.last(self._sessions[self._shards[source]])
        return create(self._context, source, target, sorted(set(buckets)))

    def run(self, job: Job) -> Job:
        """Do the rest of `job`. Raises MoveError if it cannot continue; the same call
        resumes it.
        """
        steps: dict[Step, Callable[[Job], None]] = {
            Step.PLANNED: self._prepare,
            Step.COPYING: self._copy,
            Step.CATCHING_UP: self._catch_up,
            Step.BLOCKED: self._verify,
            Step.VERIFIED: self._flip,
            Step.FLIPPED: self._activate,
            Step.ABORTING: self._abort,
        }
        with self._said(job), self._released(job):
            if job.step == Step.VERIFIED:  # a migration may have written since: compare all rows again
                self._release(job, Step.CATCHING_UP)
            if job.step in WRITING:  # after a run that was killed while it released them
                self._unblock(job)
            if job.step in {*WRITING, Step.BLOCKED}:
                self._forget_migrated(job)
            while job.step not in OVER:
                self._report(job.step, 0, 1)
                steps[job.step](job)
            self._report(job.step, 1, 1)
        return job

    def abort(self, job: Job) -> Job:
        """Restore the state before the move. Raises MoveError after the flip."""
        if job.step not in BEFORE_THE_FLIP:
            raise MoveError(
                f"move {job.id} is {job.step}: too late to abort, for shard {job.target} has the buckets. To move them"
                f" back: reshard move --buckets {ranges(job.buckets)} --to {job.source}"
            )
        with self._said(job):
            if job.step != Step.ABORTING:
                go(self._context, job, Step.ABORTING)
            self._report(job.step, 0, 1)
            self._abort(job)
        return job

    def clean(self, job: Job) -> Job:
        """Delete the copy on the source of a finished move: to move back needs a new copy from then
        on.
        """
        if job.step != Step.ACTIVE:
            raise MoveError(f"move {job.id} is {job.step}: only a finished move has something to clean")
        with self._said(job):
            source, _ = self._source_and_target(job)
            tables = self._tables(job)
            for done, bucket in enumerate(job.buckets):
                self._report("cleaning", done, len(job.buckets))
                held = self._context.execute("SELECT shard FROM sharding_bucketmap WHERE bucket = %s", [bucket])
                if held.fetchone() != (job.source,):  # else it has moved back
                    discard(source, tables, bucket, "moved")
            go(self._context, job, Step.CLEANED)
            self._drop_indexes(job)
        return job

    @contextmanager
    def _said(self, job: Job) -> Iterator[None]:
        """Turn the databases' errors into one line. A later run finds how far this one came."""
        try:
            yield
        except psycopg.Error as error:
            raise MoveError(
                f"{job} stopped at {job.step}: {one_line(error)}. `reshard resume` continues from there"
            ) from error

    @contextmanager
    def _released(self, job: Job) -> Iterator[None]:
        """Release the writers of a move that stopped before the flip: they continue even if the
        target is lost.
        """
        try:
            yield
        except (psycopg.Error, MoveError, KeyboardInterrupt):
            if job.step in {Step.BLOCKED, Step.VERIFIED}:
                with suppress(psycopg.Error, MoveError):
                    self._release(job, Step.CATCHING_UP)
            raise

    # ── the steps ─────────────────────────────────────────────────────────────────────────────────
    def _prepare(self, job: Job) -> None:
        source, target = self._source_and_target(job)
        tables = self._tables(job)
        for end in (source, target):
            index.make(end, tables)
        # An older copy there is replaced.
        made = target.execute(
            "INSERT INTO sharding_bucket (bucket, state, last) SELECT unnest(%s::smallint[]), 'incoming', 0"
            " ON CONFLICT (bucket) DO UPDATE SET state = 'incoming', logged = false, base = NULL"
            " WHERE sharding_bucket.state IN ('incoming', 'moved')",
            [job.buckets],
        )
        if made.rowcount != len(job.buckets):
            raise MoveError(f"shard {job.target} holds some of these buckets against the map: look at sharding_bucket")
        # Waits for current writers: later writes are logged, and earlier ones are in the copy.
        for bucket in job.buckets:
            change(source, bucket, "logged = true", "active")
        noted = source.execute("SELECT FROM sharding_bucket WHERE bucket = ANY(%s) AND logged", [job.buckets])
        if noted.rowcount != len(job.buckets):
            raise MoveError(f"shard {job.source} lacks some of these buckets against the map: look at sharding_bucket")
        go(self._context, job, Step.COPYING)

    def _copy(self, job: Job) -> None:
        source, target = self._source_and_target(job)
        tables = self._tables(job)
        self._touched = None
        left = not_copied(self._context, job)
        for bucket in left:
            self._report(job.step, len(job.buckets) - len(left) + left.index(bucket), len(job.buckets))
            copy_bucket(source, target, tables, bucket)
            set_copied(self._context, job, [bucket], copied=True)
        go(self._context, job, Step.CATCHING_UP)

    def _catch_up(self, job: Job) -> None:
        tables = self._tables(job)
        self._follow(job, tables)
        if self._touched is None:
            different = differing(*self._source_and_target(job), tables, job.buckets)
            if different:
                self._copy_again(job, different)
                return
            self._touched = {}
        self._await_delivery(job)
        self._follow(job, tables)
        go(self._context, job, Step.BLOCKED)

    def _follow(self, job: Job, tables: Sequence[Table]) -> None:
        """Copy the logged rows until few are left."""
        for number in range(ROUNDS):
            self._report(job.step, number, ROUNDS)
            if self._catch_up_once(job, tables) <= FEW:
                return
        raise MoveError(f"{job}: rows are written faster than they can be copied: resume it at a quieter time")

    def _catch_up_once(self, job: Job, tables: Sequence[Table]) -> int:
        rows = catch_up(*self._source_and_target(job), tables, job.buckets)
        if self._touched is not None:
            for name, ids in rows.items():
                self._touched.setdefault(name, set()).update(ids)
        return sum(map(len, rows.values()))

    def _verify(self, job: Job) -> None:
        if self._touched is None:
            self._release(job, Step.CATCHING_UP)
            return
        source, target = self._source_and_target(job)
        tables = self._tables(job)
        until = time.monotonic() + BUDGET
        try:
            with source.transaction():
                source.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                blocked = source.execute(
                    "UPDATE sharding_bucket SET state = 'blocked' WHERE bucket = ANY(%s)"
                    " AND state IN ('active', 'blocked')",
                    [job.buckets],
                )
                if blocked.rowcount != len(job.buckets):
                    raise MoveError(f"shard {job.source} lacks some buckets of move {job.id}: look at sharding_bucket")
            self._report(job.step, 1, 3)
            with limited(until, source, target):
                self._catch_up_once(job, tables)
            self._report(job.step, 2, 3)
            with limited(until, source, target):
                different = differing_rows(source, target, tables, self._touched)
            self._hand_over(job)
            with limited(until, source):
                undelivered = None if different else self._undelivered(job, until)
        except TOO_SLOW as error:
            self._too_slow(job, error)
            return
        if different:
            self._copy_again(job, different)
        elif undelivered:
            self._too_slow(job, TimeoutError(f"events in the outbox of shard {job.source}: {undelivered}"))
        elif time.monotonic() > until:
            self._too_slow(job, TimeoutError(f"it took longer than {BUDGET} s"))
        else:
            refuse_migrated(source, target, job.buckets)
            go(self._context, job, Step.VERIFIED)

    def _flip(self, job: Job) -> None:
        for end in self._source_and_target(job):
            end.execute("SELECT")  # both servers answer
        before = job.step
        try:
            with self._context.transaction():
                go(self._context, job, Step.FLIPPED)
                flipped = self._context.execute(REASSIGN, [job.target, job.buckets, job.source])
                if flipped.rowcount != len(job.buckets):
                    raise MoveError(f"the map no longer says that shard {job.source} holds the buckets: abort")
        except BaseException:
            job.step = before
            raise

    def _activate(self, job: Job) -> None:
        source, target = self._source_and_target(job)
        time.sleep(WAIT)  # after the commit of the flip
        # In this order no query over all shards counts a row twice; one that finds a bucket nowhere
        # is repeated.
        source.execute(
            "UPDATE sharding_bucket SET state = 'moved', logged = false, base = NULL WHERE bucket = ANY(%s)"
            " AND state IN ('blocked', 'moved')",
            [job.buckets],
        )
        self._report(job.step, 1, 2)
        with target.transaction():
            target.execute(
                "UPDATE sharding_bucket SET state = 'active' WHERE bucket = ANY(%s) AND state = 'incoming'",
                [job.buckets],
            )
            # Rows that a migration has written since the comparison stay: the target decides now.
            target.execute("DELETE FROM sharding_change WHERE bucket = ANY(%s)", [job.buckets])
        go(self._context, job, Step.ACTIVE)

    # ── abort and release ─────────────────────────────────────────────────────────────────────────
    def _release(self, job: Job, step: Step) -> None:
        """Let the source take writes again. The step first: from then on no run flips the map."""
        go(self._context, job, step)
        self._unblock(job)

    def _unblock(self, job: Job) -> None:
        source = self._sessions[self._shards[job.source]]  # even if the target is down
        for bucket in job.buckets:
            change(source, bucket, "state = 'active'", "blocked")

    def _too_slow(self, job: Job, error: Exception) -> None:
        self._release(job, Step.CATCHING_UP)
        self._slow += 1
        if self._slow >= TRIES:
            raise MoveError(
                f"{job} could not be blocked and compared within {BUDGET} s ({one_line(error)}): resume it at a quieter"
                " time, or abort it and move fewer buckets with --at-once"
            ) from error
        time.sleep(REST)

    def _copy_again(self, job: Job, different: list[tuple[str, int]]) -> None:
        buckets = sorted({bucket for _, bucket in different})
        set_copied(self._context, job, buckets, copied=False)
        self._release(job, Step.COPYING)
        self._differed += 1
        if self._differed >= COPIES:
            raise MoveError(
                f"{job}: rows of {', '.join(sorted({name for name, _ in different}))} differ in the buckets"
                f" {ranges(buckets)}, again after {COPIES} copies. The map is unchanged; find out why, then resume or"
                " abort"
            )

    def _abort(self, job: Job) -> None:
        release(self._sessions[self._shards[job.source]], job.buckets)  # users write there, so before the target
        _, target = self._source_and_target(job)
        tables = [Table(name, ()) for name in self._names]  # for deletes only, so without columns
        for done, bucket in enumerate(job.buckets):
            self._report(job.step, done, len(job.buckets))
            discard(target, tables, bucket, "incoming")
        go(self._context, job, Step.ABORTED)
        self._drop_indexes(job)

    def _drop_indexes(self, job: Job) -> None:
        if not jobs(self._context, set(Step) - {Step.CLEANED, Step.ABORTED}):
            for end in self._source_and_target(job):
                index.drop(end, [Table(name, ()) for name in self._names])

    def _forget_migrated(self, job: Job) -> None:
        """Copy the buckets again whose rows a migration has changed at the target: the source has
        had it too.
        """
        _, target = self._source_and_target(job)
        if changed := changed_there(target, job.buckets):
            set_copied(self._context, job, changed, copied=False)
            if job.step != Step.PLANNED:
                self._release(job, Step.COPYING)
            target.execute("DELETE FROM sharding_change WHERE bucket = ANY(%s)", [changed])

    # ── events ────────────────────────────────────────────────────────────────────────────────────
    def _await_delivery(self, job: Job) -> None:
        """Wait until the events now in the source's outbox are delivered. Raises MoveError after
        DELIVERY.
        """
        if self._outbox is None:
            return
        source, _ = self._source_and_target(job)
        last, until, most = self._outbox.last(source), time.monotonic() + DELIVERY, 0
        while (left := self._outbox.left(source, job.buckets, last)).total:
            most = max(most, left.total)
            self._report("events", most - left.total, most)
            if left.parked or time.monotonic() > until:
                what = "Resend or discard what is parked" if left.parked else "Find out why they are not received"
                raise MoveError(
                    f"{job}: the outbox of shard {job.source} has events of these buckets: {left}. Later ones would"
                    f" overtake them from shard {job.target}. The map is unchanged, and writes continue. {what}, then"
                    " `reshard resume`; or abort"
                )
            time.sleep(LOOK)

    def _undelivered(self, job: Job, until: float) -> Left | None:
        """Return the events of the blocked buckets that are still in the source's outbox at
        `until`, or None.
        """
        if self._outbox is None:
            return None
        source, _ = self._source_and_target(job)
        last = self._outbox.last(source)
        while (left := self._outbox.left(source, job.buckets, last)).total:
            if left.parked or time.monotonic() > until:
                return left
            time.sleep(LOOK / 10)
        return None

    # ── helpers ───────────────────────────────────────────────────────────────────────────────────
    def _hand_over(self, job: Job) -> None:
        """Let the target give greater ids than the source has given. The source is blocked and
        gives none now.
        """
        source, target = self._source_and_target(job)
        given = source.execute(
            "SELECT bucket, last, base + (SELECT last_value FROM sharding_ids)"
            " FROM sharding_bucket WHERE bucket = ANY(%s)",
            [job.buckets],
        ).fetchall()
        # The commit also makes the target's sequence durable up to the value read here.
        target.execute(
            "UPDATE sharding_bucket AS mine"
            " SET last = given.last, base = given.reached - (SELECT last_value FROM sharding_ids) + 1"
            " FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[]) AS given (bucket, last, reached)"
            " WHERE mine.bucket = given.bucket AND state = 'incoming'",
            [list(column) for column in zip(*given, strict=True)],
        )
