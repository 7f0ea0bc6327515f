"""What the tests of the benches' programs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scaleout.replication.backend.base import stop_watching
from scaleout.sharding import shard_map


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end let go of the databases: the watch keeps a connection of its own to each."""
    yield
    stop_watching()


@pytest.fixture
def unknown_map(transactional_db: None) -> Iterator[None]:
    """A process that has seen no map yet, and leaves none behind."""
    shard_map.forget()
    yield
    shard_map.forget()
