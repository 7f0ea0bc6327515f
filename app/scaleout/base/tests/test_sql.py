"""The first word of a statement."""

from __future__ import annotations

import pytest

from scaleout.base.sql import begins_as_read


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT 1", True), ("select 1", True), ("\n\t ((SELECT 1) UNION (SELECT 2))", True), (";SELECT 1", True),
        ("SAVEPOINT s", True), ("UPDATE a SET b = 1", False), ("WITH a AS (DELETE FROM b) SELECT 1", False),
        ("", False), (" " * 300 + "SELECT 1", False), (b"SELECT 1", False), (None, False),
    ],
)  # fmt: skip
def test_a_statement_begins_as_one_that_reads(sql: object, reads: bool) -> None:
    assert begins_as_read(sql) is reads
