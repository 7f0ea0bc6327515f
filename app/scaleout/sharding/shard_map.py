"""The map of buckets to shards, as this process knows it.

The map is a table in the context's own database. Each process keeps it for LEASE seconds, counted
from before it was read; after that it reads the version again before it answers, and the map only
if the version has changed. A mover changes the map and then waits longer than LEASE before the new
shard takes a write: so an old map never gives a wrong answer, only one that is about to change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, transaction

from scaleout.base import Breaker, PerProcess
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import MapIncomplete, MapUnavailable
from scaleout.sharding.ids import BUCKETS, bucket_of

DATABASE = DEFAULT_DB_ALIAS  # the alias of the database that has the map
LEASE = 0.5  # seconds
PAUSE = 0.2  # seconds after a failure without a retry: else each caller would wait in turn
# Linux stops time.monotonic() while a machine is suspended: a map that is hours old would look
# fresh.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# The target, the buckets, the source.
REASSIGN = "UPDATE sharding_bucketmap SET shard = %s WHERE bucket = ANY(%s) AND shard = %s"


def _now() -> float:
    """Return seconds of a clock that only goes forward, also while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


class ShardMap:
    """The map of one context. `alias`: the database that holds it. `shards`: the aliases by
    number.
    """

    def __init__(self, alias: str, shards: Mapping[int, str]) -> None:
        self.alias = alias
        self.shards = shards
        self.version = -1
        self._buckets: tuple[int, ...] = ()
        self._read_at = float("-inf")
        self._breaker, self._failure = Breaker(PAUSE), ""
        self._lock = threading.Lock()

    def number(self, bucket: int) -> int:
        """Return the number of the shard that holds `bucket`. Raises MapUnavailable."""
        if _now() - self._read_at > LEASE:
            self._renew()
        return self._buckets[bucket]

    def alias_of(self, bucket: int) -> str:
        """Return the alias of the shard that holds `bucket`. Raises MapUnavailable."""
        return self.shards[self.number(bucket)]

    def alias_for(self, id_: int) -> str:
        """Return the alias of the shard that holds the row `id_` and its bucket."""
        return self.alias_of(bucket_of(id_))

    def buckets_of(self, number: int) -> list[int]:
        """Return the buckets that shard `number` holds."""
        self.number(0)
        return [bucket for bucket, shard in enumerate(self._buckets) if shard == number]

    def expire(self) -> None:
        """Read the map again before the next answer: a shard has refused what it says."""
        self._read_at = float("-inf")

    def _renew(self) -> None:
        with self._lock:
            now = _now()
            if now - self._read_at <= LEASE:
                return  # another thread has just done it
            if not self._breaker.allows():
                raise MapUnavailable(self._failure)
            try:
                self._read()
            except transaction.TransactionManagementError:
                raise  # the caller's own transaction on that database is broken
            except (DatabaseError, InterfaceError) as error:
                self._breaker.failed()
                self._failure = (
                    f"the map of the shards cannot be read from {self.alias}, and what is known of it is older than"
                    f" {LEASE} s: {' '.join(str(error).split())}"
                )
                raise MapUnavailable(self._failure) from error
            self._breaker.worked()
            self._read_at = now

    def _read(self) -> None:
        # The version first: if the map changes in between, the next read finds another version and
        # reads it again. In a transaction, which declares that this read of the primary is
        # intended.
        with transaction.atomic(using=self.alias, savepoint=False), connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT version FROM sharding_mapversion")
            row = cursor.fetchone()
            version = row[0] if row else -1
            # Compared for equality: a restored database has an earlier version.
            if self._buckets and version == self.version:
                return
            cursor.execute("SELECT bucket, shard FROM sharding_bucketmap ORDER BY bucket")
            rows = cursor.fetchall()
        if [bucket for bucket, _ in rows] != list(range(BUCKETS)):
            raise MapIncomplete(
                f"the map in {self.alias} has {len(rows)} of {BUCKETS} buckets: run the command prepare"
            )
        if unknown := {shard for _, shard in rows} - set(self.shards):
            raise MapIncomplete(
                f"the map in {self.alias} names shards that SHARDING['SHARDS'] lacks: {sorted(unknown)}"
            )
        self._buckets, self.version = tuple(shard for _, shard in rows), version


def reassign(alias: str, buckets: Iterable[int], source: int, target: int) -> int:
    """Assign `buckets` of shard `source` to `target` in the map in `alias`; return how many were
    assigned.

    The table's trigger gives the map a new version in the same transaction. Every process knows it
    LEASE seconds after the commit.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(REASSIGN, [target, sorted(buckets), source])
        return int(cursor.rowcount)


_current = PerProcess(lambda: ShardMap(DATABASE, conf().shards))
forget = _current.forget  # the map, as in a new process


def current() -> ShardMap:
    """Return the map of this process's context (`SHARDING["SHARDS"]`). Raises MapIncomplete
    without shards.
    """
    if not conf().shards:
        raise MapIncomplete("this service has no shards: ask the service that owns the rows")
    return _current.own
