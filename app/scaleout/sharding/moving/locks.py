"""Change a bucket's state without blocking writers: how long to wait for them, and how often to
try.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors

from scaleout.sharding.moving.session import Connection

TRIES = 8
# Shorter than PostgreSQL's deadlock_timeout (1 s): in a deadlock of mover and writer the mover
# gives way.
LOCK_TIMEOUT = "400ms"
TOO_SLOW = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected)
REST = 0.2  # seconds for the writers that waited


def change(shard: Connection, bucket: int, values: str, *states: str) -> None:
    """Change a bucket if it is in one of `states`. Gives way to writers that hold it for long."""
    for left in reversed(range(TRIES)):
        try:
            with shard.transaction():
                shard.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                shard.execute(
                    f"UPDATE sharding_bucket SET {values} WHERE bucket = %s AND state = ANY(%s)",  # noqa: S608 - our own words
                    [bucket, list(states)],
                )
        except TOO_SLOW:
            if not left:
                raise
            time.sleep(REST)
        else:
            return


@contextmanager
def limited(until: float, *ends: Connection) -> Iterator[None]:
    """Let no statement of the block run beyond `until` (monotonic, seconds)."""
    left = max(1, int((until - time.monotonic()) * 1000))
    try:
        for end in ends:
            end.execute(f"SET statement_timeout = {left}")
        yield
    finally:
        for end in ends:
            with suppress(psycopg.Error):  # a lost connection has raised already
                end.execute("SET statement_timeout = 0")
