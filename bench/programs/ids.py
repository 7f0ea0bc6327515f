"""New ids: of a bucket, of a sequence of the same server, and of no server at all."""

from __future__ import annotations

import os
import random
import time
import uuid

from django.db import connections
from scaleout.sharding.ids import BUCKETS, take
from shop.users.models import User

from programs.prepare import prepare as prepare_tables
from programs.serve import Operation, serve

BLOCK = 100
SHARD = "shard0"  # the only one, so that every id and the sequence come from one server


def prepare() -> None:
    """Make the sequence too."""
    prepare_tables()
    with connections[SHARD].cursor() as cursor:
        cursor.execute("CREATE SEQUENCE bench_ids")


def nextval() -> int:
    """One id of a sequence."""
    with connections[SHARD].cursor() as cursor:
        cursor.execute("SELECT nextval('bench_ids')")
        cursor.fetchone()
    return 1


def nextval_block() -> int:
    """BLOCK ids of a sequence, by one statement."""
    with connections[SHARD].cursor() as cursor:
        cursor.execute("SELECT nextval('bench_ids') FROM generate_series(1, %s)", [BLOCK])
        return len(cursor.fetchall())


def new_id() -> int:
    """One id, as `create()` takes it."""
    User.objects.new_id()
    return 1


def block() -> int:
    """BLOCK ids of one bucket, as `bulk_create()` takes them."""
    return len(take(SHARD, random.randrange(BUCKETS), BLOCK))


def uuid7() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, 5.7): Python has it from 3.14 on."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def uuids() -> int:
    """BLOCK UUIDs: one by one they would be too quick for the clock."""
    for _ in range(BLOCK):
        uuid7()
    return BLOCK


OPERATIONS: dict[str, Operation] = {
    "nextval": nextval,
    "new_id": new_id,
    "nextval, block": nextval_block,
    "take, block": block,
    "uuid7": uuids,
}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, prepare)
