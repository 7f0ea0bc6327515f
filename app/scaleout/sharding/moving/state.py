"""The steps of moves, in tables beside the map. A commit of its own marks the begin of each
step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from scaleout.sharding.models import Move
from scaleout.sharding.moving.session import Connection, MoveError

Step = Move.Step
OVER = (Step.ACTIVE, Step.CLEANED, Step.ABORTED)
BEFORE_THE_FLIP = (Step.PLANNED, Step.COPYING, Step.CATCHING_UP, Step.BLOCKED, Step.VERIFIED, Step.ABORTING)
WIDTH = 60  # characters of a list of buckets in a message


@dataclass
class Job:
    """A move, as read from the table."""

    id: int
    source: int
    target: int
    step: Step
    buckets: list[int]
    pause: float | None  # seconds for which its writes were refused

    def __str__(self) -> str:
        """Return the buckets and shards of the move, in a line of limited length."""
        which = short_ranges(self.buckets)
        return f"move {self.id}: {len(self.buckets)} buckets ({which}), shard {self.source} to {self.target}"


def ranges(buckets: Iterable[int]) -> str:
    """Return numbers in the form of `--buckets`: 0-3,7."""
    parts: list[list[int]] = []
    for bucket in sorted(buckets):
        if parts and parts[-1][1] == bucket - 1:
            parts[-1][1] = bucket
        else:
            parts.append([bucket, bucket])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def short_ranges(buckets: Collection[int]) -> str:
    """Return them in at most WIDTH characters."""
    which = ranges(buckets)
    return which if len(which) <= WIDTH else f"from {min(buckets)} to {max(buckets)}, not all between"


def jobs(context: Connection, steps: Iterable[Step]) -> list[Job]:
    """Return the moves that are at one of `steps`, the oldest first."""
    rows = context.execute(
        "SELECT m.id, m.source, m.target, m.step,"
        " array(SELECT bucket::int FROM sharding_movebucket WHERE move_id = m.id ORDER BY 1),"
        " extract(epoch FROM m.active - m.blocked)::float FROM sharding_move m WHERE m.step = ANY(%s) ORDER BY m.id",
        [[str(step) for step in steps]],
    )
    return [Job(id_, source, target, Step(step), buckets, pause) for id_, source, target, step, buckets, pause in rows]


def create(context: Connection, source: int, target: int, buckets: Sequence[int]) -> Job:
    """Plan a move. Raises MoveError if the map says that the source does not hold the buckets."""
    with context.transaction():
        held = context.execute(
            "SELECT count(*) FROM sharding_bucketmap WHERE bucket = ANY(%s) AND shard = %s", [list(buckets), source]
        ).fetchone()
        if held != (len(buckets),):
            raise MoveError(f"shard {source} does not hold all of the buckets {ranges(buckets)}")
        row = context.execute(
            "INSERT INTO sharding_move (source, target, step) VALUES (%s, %s, 'planned') RETURNING id", [source, target]
        ).fetchone()
        assert row is not None  # noqa: S101 - RETURNING returns
        context.execute(
            "INSERT INTO sharding_movebucket (move_id, bucket) SELECT %s, unnest(%s::smallint[])",
            [row[0], list(buckets)],
        )
    return Job(row[0], source, target, Step.PLANNED, list(buckets), None)


def go(context: Connection, job: Job, step: Step) -> None:
    """Let `job` be at `step`. Raises MoveError if it is no longer where it was."""
    times = {
        Step.BLOCKED: "blocked = clock_timestamp(), active = NULL,",
        Step.ACTIVE: "active = clock_timestamp(),",
    }
    row = context.execute(
        f"UPDATE sharding_move SET {times.get(step, '')} step = %s WHERE id = %s AND step = %s"  # noqa: S608 - our own words
        " RETURNING extract(epoch FROM active - blocked)::float",
        [str(step), job.id, str(job.step)],
    ).fetchone()
    if row is None:
        raise MoveError(f"move {job.id} is no longer {job.step}: another mover was at work")
    job.step, job.pause = step, row[0]


def not_copied(context: Connection, job: Job) -> list[int]:
    """Return the buckets that are still to be copied."""
    rows = context.execute(
        "SELECT bucket FROM sharding_movebucket WHERE move_id = %s AND NOT copied ORDER BY bucket", [job.id]
    )
    return [bucket for (bucket,) in rows]


def set_copied(context: Connection, job: Job, buckets: Iterable[int], *, copied: bool) -> None:
    """Record that `buckets` are copied, or must be copied again."""
    context.execute(
        "UPDATE sharding_movebucket SET copied = %s WHERE move_id = %s AND bucket = ANY(%s)",
        [copied, job.id, list(buckets)],
    )
