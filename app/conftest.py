"""What the in-process tests of all packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from health import monitor
from replication.backend.base import stop_watching


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end let go of the databases: the watch keeps a connection of its own to each."""
    yield
    monitor.stop_all()
    stop_watching()
