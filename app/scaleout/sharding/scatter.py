"""Query all shards at once, and report the shards that did not answer.

Each shard has a small pool of threads of its own: a shard that hangs does not delay the others. In
one snapshot a shard returns its rows and the buckets that it shows. So a bucket that moves from one
shard to another is noticed, and its rows are neither missed nor counted twice.
"""

from __future__ import annotations

import contextvars
import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet

from scaleout.base import PerProcess
from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import CrossShardTransaction
from scaleout.sharding.ids import BUCKETS, bucket_of
from scaleout.sharding.inner import refuse_foreign
from scaleout.sharding.models import Bucket
from scaleout.sharding.transactions import open_shards, shards_of_test

DEADLINE = 1.0  # seconds for all shards together
THREADS = 4  # for each shard
AWAY = (OperationalError, InterfaceError, InternalError, TimeoutError)

# Called with the alias of a shard, and whether the shard has buckets whose rows must be hidden.
type Question[T] = Callable[[str, bool], T]

log = logging.getLogger(__name__)


class _Pools:
    """The threads of this process for such queries, a pool for each shard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def of(self, alias: str) -> ThreadPoolExecutor:
        with self._lock:
            if alias not in self._pools:
                self._pools[alias] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"scatter-{alias}")
            return self._pools[alias]


_pools = PerProcess(_Pools)


@dataclass(frozen=True)
class Page[M]:
    """Rows of all shards in the order of their ids. `next` is the `after` of the next page, None at
    the end.

    `partial`: rows may be missing, those of the shards `missing` or of a bucket that was moving.
    """

    items: list[M]
    next: int | None
    partial: bool
    missing: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[M]:
        """Iterate over the rows."""
        return iter(self.items)


@dataclass(frozen=True)
class _Gathered[T]:
    answers: dict[str, T]  # by alias
    missing: tuple[str, ...]
    whole: bool  # some shard has shown each bucket
    twice: bool  # two shards have shown a bucket, before and after it changed sides


def _ask[T](alias: str, until: float, question: Question[T]) -> tuple[set[int], T]:
    """Return the buckets that the shard shows and its answer. Runs in a thread of the pool."""
    try:
        left = int((until - time.monotonic()) * 1000)
        if left <= 0:
            raise TimeoutError(f"no thread was free to ask {alias}")
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            # A query that is too late ends on the server too.
            cursor.execute(
                f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = {left}"
            )
            return _look(alias, question)
    finally:
        connections[alias].close()  # back to the connection pool


def _look[T](alias: str, question: Question[T]) -> tuple[set[int], T]:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(array_agg(bucket) FILTER (WHERE state = ANY(%s)), '{}'), count(*) FROM sharding_bucket",
            [list(Bucket.SHOWN)],
        )
        shown, held = cursor.fetchone()
    return set(shown), question(alias, held > len(shown))


def _look_now[T](alias: str, question: Question[T]) -> Future[tuple[set[int], T]]:
    """Query in this thread: in Django's `TestCase`, whose transaction no other thread sees."""
    future: Future[tuple[set[int], T]] = Future()
    future.set_result(_look(alias, question))
    return future


def _gather[T](until: float, question: Question[T]) -> _Gathered[T]:
    futures: dict[str, Future[tuple[set[int], T]]] = {}
    of_test = {one.alias for one in shards_of_test()}
    for alias in conf().shards.values():
        if alias in of_test:
            futures[alias] = _look_now(alias, question)
            continue
        # With the caller's context, so that logs and metrics are the caller's.
        context = contextvars.copy_context()
        futures[alias] = _pools.own.of(alias).submit(context.run, _ask, alias, until, question)
    wait(futures.values(), max(0.0, until - time.monotonic()))
    answers: dict[str, T] = {}
    seen: set[int] = set()
    twice = False
    for alias, future in futures.items():
        if future.cancel() or not future.done():
            log.warning("shard %s failed: no answer in time", alias)
            continue
        try:
            shown, answers[alias] = future.result()
        except AWAY as error:  # any other error is the query's, and would fail on every shard
            log.warning("shard %s failed: %s", alias, " ".join(str(error).split()))
        else:
            twice = twice or not seen.isdisjoint(shown)
            seen |= shown
    missing = tuple(alias for alias in futures if alias not in answers)
    return _Gathered(answers, missing, whole=len(seen) == BUCKETS, twice=twice)


def _gather_whole[T](question: Question[T], deadline: float | None) -> _Gathered[T]:
    until = time.monotonic() + (DEADLINE if deadline is None else deadline)
    gathered = _gather(until, question)
    # All shards have answered, but a bucket was on none or on two: it changed sides in between.
    if not gathered.missing and (gathered.twice or not gathered.whole):
        gathered = _gather(until, question)
    return gathered


def refuse_shaped(query: QuerySet[Any]) -> None:
    """Raise TypeError for a query with more than filters, and CrossShardTransaction in a shard's
    transaction.
    """
    if query.query.is_sliced or query.query.distinct or query.query.combinator or query._fields is not None:  # type: ignore[attr-defined]
        raise TypeError("scatter() takes filters only: no slice, distinct(), values() or union()")
    refuse_foreign(query.query, None)
    if inside := open_shards():
        raise CrossShardTransaction(
            f"a question to all shards inside a transaction on {', '.join(inside)} would not see what that has written:"
            " ask before it begins or after it ends"
        )


def scatter[M: Model](question: Question[list[M]], limit: int, deadline: float | None) -> Page[M]:
    """Return the first `limit` rows of all shards. `question` returns one row more, in the order of
    the ids.
    """
    gathered = _gather_whole(question, deadline)
    rows: list[M] = []
    for row in heapq.merge(*gathered.answers.values(), key=attrgetter("pk")):
        if rows and rows[-1].pk == row.pk:
            # Of two snapshots of a moved bucket the one of its present shard is right.
            if row._state.db == shard_map.current().alias_of(bucket_of(row.pk)):
                rows[-1] = row
        elif len(rows) > limit:
            break
        else:
            rows.append(row)
    partial = bool(gathered.missing) or not gathered.whole
    more = len(rows) > limit
    return Page(rows[:limit], rows[limit - 1].pk if more else None, partial, gathered.missing)


def scatter_count(question: Question[int], deadline: float | None) -> tuple[int, bool]:
    """Return the sum of the answers of all shards, and whether it is partial (or, in a move,
    counted twice).
    """
    gathered = _gather_whole(question, deadline)
    return sum(gathered.answers.values()), bool(gathered.missing) or gathered.twice or not gathered.whole
