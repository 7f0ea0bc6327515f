"""What the in-process tests of all packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from health import monitor


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end let go of the databases: the health monitors keep a connection of their own to each."""
    yield
    monitor.stop_all()
