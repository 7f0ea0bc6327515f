"""Keep each transaction on one shard, by watching every statement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from scaleout.base.sql import begins_as_read
from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import BucketMoved, CrossShardTransaction
from scaleout.sharding.fence import OTHER_BUCKET, SQLSTATE
from scaleout.sharding.ids import bucket_of

# Seconds that a write waits for a bucket that is about to move: longer than a move blocks it, and
# short enough for the 503 to come before the load balancers give up (after 2 s).
PATIENCE = 1.5
PAUSE = 0.05  # seconds between two tries
_ONE_BUCKET = "buckets move one by one, so shard_atomic() covers what belongs to one shard key"


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the project is in a transaction, not counting that of Django's `TestCase`."""
    blocks: list[Any] = connection.atomic_blocks
    return any(not block._from_testcase for block in blocks)


def _opened() -> list[str]:
    return [one.alias for one in connections.all(initialized_only=True) if _in_transaction(one)]


def open_shards() -> list[str]:
    """Return the shards on which this thread is in a transaction."""
    shards = set(conf().shards.values())
    return [alias for alias in _opened() if alias in shards]


def shards_of_test() -> list[BaseDatabaseWrapper]:
    """Return the shards on which this thread is in a transaction of Django's `TestCase` only."""
    shards = set(conf().shards.values())
    opened = [one for one in connections.all(initialized_only=True) if one.alias in shards and one.atomic_blocks]
    return [one for one in opened if not _in_transaction(one)]


def refuse_second(alias: str) -> None:
    """Raise CrossShardTransaction if this thread has a transaction on another database than the
    shard `alias`.
    """
    if others := [other for other in _opened() if other != alias]:
        raise CrossShardTransaction(
            f"a write to {alias} inside a transaction on {', '.join(others)}: nothing could undo both. End the"
            " transaction first, or do the second write by a message that can be repeated"
        )


def _guard(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    alias = context["connection"].alias
    if not begins_as_read(sql):
        refuse_second(alias)
    try:
        return execute(sql, params, many, context)
    except DatabaseError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state == SQLSTATE:
            raise BucketMoved(" ".join(str(error).split())) from error
        if state == OTHER_BUCKET:
            raise CrossShardTransaction(f"{str(error).splitlines()[0]}: {_ONE_BUCKET}") from error
        raise


def watch(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    """Watch the statements of a new connection to a shard."""
    if connection.alias in conf().shards.values() and _guard not in connection.execute_wrappers:
        connection.execute_wrappers.append(_guard)


def fenced[T](write: Callable[[], T]) -> T:
    """Return what `write` returns; if its bucket moves, read the map again and retry, for PATIENCE
    seconds.

    Not inside a transaction on a shard, which the database has aborted, and without a wait inside
    any other transaction, whose locks would be held for that time. At the end raises BucketMoved.
    `write` must read the map by itself.
    """
    inside = bool(open_shards())
    patience = 0.0 if _opened() else PATIENCE
    until = time.monotonic() + patience
    tries = 0
    while True:
        try:
            with _undone_in_test():
                return write()
        except BucketMoved:
            shard_map.current().expire()
            if inside or (tries > 0 and time.monotonic() >= until):
                raise
        if tries > 0:  # the first retry at once: perhaps only the map was old
            time.sleep(PAUSE)
        tries += 1


@contextmanager
def _undone_in_test() -> Iterator[None]:
    """Roll a refused write back in a transaction of Django's `TestCase`, to keep that usable.

    Without Django's cursors: a test may count their statements.
    """
    shards = [one for one in shards_of_test() if not one.needs_rollback]
    for one in shards:
        one.connection.execute("SAVEPOINT sharding_try")
    try:
        yield
    except (BucketMoved, CrossShardTransaction):
        for one in shards:
            one.connection.execute("ROLLBACK TO SAVEPOINT sharding_try; RELEASE SAVEPOINT sharding_try")
            one.set_rollback(False)
        raise
    else:
        for one in shards:
            one.connection.execute("RELEASE SAVEPOINT sharding_try")


@contextmanager
def shard_atomic(key: int, *, alone: bool = False) -> Iterator[str]:
    """Run the block in one transaction on the shard that holds `key`, such as a user's id, and its
    rows.

    With `alone` it first waits for the end of every other transaction with `alone` for this key.
    Yields the alias; the bucket does not move before the end. Raises BucketMoved if it has moved or
    is about to move. Raises CrossShardTransaction inside a transaction on another database or for
    another bucket, and for a write to another bucket inside of it: the fence checks that.
    """
    alias = shard_map.current().alias_for(key)
    refuse_second(alias)
    try:
        with transaction.atomic(using=alias):
            _claim(alias, key, alone)
            yield alias
    except BucketMoved:
        shard_map.current().expire()
        raise
    for one in shards_of_test():
        if one.alias == alias:  # else the end of the transaction closes it
            one.connection.execute("SELECT set_config('sharding.bucket', '', true)")


def _claim(alias: str, key: int, alone: bool) -> None:
    """Bind the transaction to the bucket of `key`, and `alone` as in `shard_atomic`.

    It locks the bucket from here on, as each write does: the bucket cannot move while the
    transaction reads, or writes to tables without a fence, such as events. Raises BucketMoved if
    the bucket takes no writes.
    """
    bucket = str(bucket_of(key))
    claimed = "set_config('sharding.bucket', coalesce(nullif(current_setting('sharding.bucket', true), ''), %s), true)"
    held = "(SELECT state FROM sharding_bucket WHERE bucket = %s FOR KEY SHARE)"
    # Negative, so that no lock of another kind has this number.
    lock = f", pg_advisory_xact_lock({-1 - key:d})" if alone else ""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {claimed}, {held}{lock}", [bucket, int(bucket)])
        found, state, *_ = cursor.fetchone()
    if found != bucket:
        raise CrossShardTransaction(f"a transaction on bucket {bucket} inside one on bucket {found}: {_ONE_BUCKET}")
    if state != "active":
        raise BucketMoved(f"bucket {bucket} takes no writes here: {state or 'not on this shard'}")
