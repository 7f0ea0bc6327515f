"""Reads spread over replicas and writes spread over shards, by as many servers as the variant
has.
"""

from __future__ import annotations

import random

from django.conf import settings
from scaleout.replication import state
from scaleout.sharding import map as maps
from scaleout.sharding.ids import BUCKETS, take
from shop.users.models import EmailDirectory, User

from programs.prepare import EMAIL, prepare
from programs.serve import Operation, serve

PROCESSES, THREADS = 2, 8


def read(replicas: int) -> Operation:
    """Return a request's read with so many replicas; with none it goes to the primary."""
    aliases = [f"replica{number + 1}" for number in range(replicas)]

    def once() -> int:
        settings.REPLICAS = aliases
        state.begin()
        EmailDirectory.objects.get(pk=EMAIL)
        return 1

    return once


def write(shards: int) -> Operation:
    """Return the registration of a user whose bucket is on one of the first `shards` shards."""

    def once() -> int:
        known = maps.current()
        while known.number(bucket := random.randrange(BUCKETS)) >= shards:
            pass
        User.objects.create(id=take(known.alias_of(bucket), bucket)[0], email="new@example.org", name="new")
        return 1

    return once


OPERATIONS: dict[str, Operation] = {
    **{f"reads, {replicas}": read(replicas) for replicas in range(3)},
    **{f"writes, {shards}": write(shards) for shards in range(1, 4)},
}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, prepare, processes=PROCESSES, threads=THREADS)
