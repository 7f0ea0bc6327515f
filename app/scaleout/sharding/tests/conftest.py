"""Fixtures of the tests of sharding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker
from waiting import TIME_FACTOR

from scaleout.sharding import shard_map, transactions
from scaleout.sharding.moving import session, steps
from scaleout.sharding.tests.shelves import empty_tables, make_tables


@pytest.fixture(scope="session")
def shelves_made(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The tables of the tests."""
    with django_db_blocker.unblock():
        make_tables()


@pytest.fixture
def shelves(shards: None, shelves_made: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shards with the tests' own empty tables, and movers and writers as patient as the tests are.

    Each move waits for the end of the map's lease, so that is shorter here.
    """
    monkeypatch.setattr(shard_map, "LEASE", 0.1)
    monkeypatch.setattr(steps, "WAIT", 0.2)
    monkeypatch.setattr(transactions, "PATIENCE", transactions.PATIENCE * 2 * TIME_FACTOR)
    monkeypatch.setattr(steps, "BUDGET", steps.BUDGET * TIME_FACTOR)
    monkeypatch.setattr(session, "PATIENCE", f"{2 * TIME_FACTOR}s")
    yield
    empty_tables()
