"""A counter that every replica shares."""

from __future__ import annotations

from django.db import connection, models, transaction

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

        One statement adds: reading, adding and writing back would lose every addition that another replica
        makes in between. Those who wait for a row are let in in no order, and under load some would wait for seconds;
        an advisory lock has a queue.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_QUEUE, name])
            cursor.execute(
                "INSERT INTO stateless_counter (name, value) VALUES (%s, %s)"
                " ON CONFLICT (name) DO UPDATE SET value = stateless_counter.value + EXCLUDED.value"
                " RETURNING value",
                [name, step],
            )
            return int(cursor.fetchone()[0])
