"""Servers that answer, with the tables of `users`, the map of the buckets, and rows to ask for."""

from __future__ import annotations

import random
import time

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections
from scaleout.sharding.fill import fill
from scaleout.sharding.ids import BUCKETS, SEQUENCE_BITS, compose
from shop.users.models import EmailDirectory, User

DEADLINE = 60.0  # seconds until all servers answer
EMAIL = "reader@example.org"  # a row to be read by its key


def prepare(users: int = 0) -> None:
    """Wait for the servers and fill them; with `users` new ones, spread over the shards."""
    wait(list(settings.DATABASE_APPS))
    for alias in settings.DATABASE_APPS:
        call_command("migrate", database=alias, interactive=False, verbosity=0)
    if settings.SHARDING["SHARDS"]:
        fill("default", settings.SHARDING["SHARDS"])
    EmailDirectory.objects.create(email=EMAIL, user_id=7, state=EmailDirectory.State.ACTIVE)
    # Ids as if they had come one after the other over a long time: so each part of the table has
    # rows of every shard.
    User.objects.bulk_create(
        (
            User(id=compose(number << SEQUENCE_BITS, random.randrange(BUCKETS)), email="user@example.org", name="user")
            for number in range(users)
        ),
        across_shards=True,
        batch_size=5_000,
    )
    for alias in settings.DATABASE_APPS:
        with connections[alias].cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
            cursor.execute("CHECKPOINT")


def wait(aliases: list[str]) -> None:
    """Return when all databases answer. Raises OperationalError after DEADLINE."""
    until = time.monotonic() + DEADLINE
    for alias in aliases:
        while True:
            try:
                connections[alias].ensure_connection()
                break
            except OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
