"""A counter that every replica shares."""

from __future__ import annotations

from django.db import connection, models

_QUEUE = 7_241_002  # advisory lock; no other code uses this number


class Counter(models.Model):
    """A named number in the database, shared by all replicas."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """Return the name and the number."""
        return f"{self.name}: {self.value}"

    @classmethod
    def add(cls, name: str, step: int = 1) -> int:
        """Add `step` to the counter `name` and return the new value, exactly once for each call.

        One statement is its own transaction. Separate reads and writes would lose additions of
        other replicas, and a replica that freezes between them would keep the row locked. Row
        locks are granted in no order, so under load some callers would wait for seconds; an
        advisory lock has a queue.
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
