"""Fixtures of the tests of replication."""

from __future__ import annotations

import pytest
from waiting import TIME_FACTOR

from scaleout.replication import cluster
from scaleout.replication.backend import base


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process wait for servers that a busy machine delays: for their first answers, for a
    connection, and for the primary's answer about a position far ahead.
    """
    monkeypatch.setattr(cluster, "FIRST", cluster.FIRST * TIME_FACTOR)
    monkeypatch.setattr(cluster, "PATIENCE", 0.75 * TIME_FACTOR)
    monkeypatch.setattr(base, "PATIENCE", base.PATIENCE * TIME_FACTOR)
