"""A counter that every replica shares."""

from __future__ import annotations

from django.db import connection, models

_QUEUE = 7_241_002  # any number that nothing else uses for its advisory locks


class Counter(models.Model):
    """A named number, kept where all replicas see it: in the database, not in a process."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """Return the name and the number."""
        return f"{self.name}: {self.value}"

    @classmethod
    def add(cls, name: str, step: int = 1) -> int:
        """Add `step` to the counter `name` and return the new value, exactly once for each call.

        One statement, which is its own transaction: reading, adding and writing back would lose
        every addition that another replica makes in between, and a replica that freezes between two
        statements would keep the row locked. Those who wait for a row are let in in no order, so
        under load some would wait for seconds; an advisory lock has a queue.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH queue AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s, hashtext(%s)))"
                " INSERT INTO stateless_counter (name, value) SELECT %s, %s FROM queue"
                " ON CONFLICT (name) DO UPDATE SET value = stateless_counter.value + EXCLUDED.value"
                " RETURNING value",
                [_QUEUE, name, name, step],
            )
            return int(cursor.fetchone()[0])
