"""The first word of an SQL statement."""

from __future__ import annotations

# What a statement begins with that writes nothing by itself.
_READS = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET", "SHOW", "EXPLAIN", "DECLARE", "FETCH", "CLOSE")
BEFORE = "(; \n\t"  # what may stand before the first word
_BEGINNING = 200  # characters in which the first word is looked for


def begins_as_read(sql: object) -> bool:
    """Return whether the first word of a statement is one of those that write nothing.

    What follows may write all the same: a function, a `SELECT INTO`, a second statement.
    """
    return isinstance(sql, str) and sql[:_BEGINNING].lstrip(BEFORE).upper().startswith(_READS)
