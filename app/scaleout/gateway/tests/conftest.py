"""Replicas for the tests of the client and of the edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scaleout.gateway.tests.upstream import OK, Start, Upstream, say


@pytest.fixture
def upstreams() -> Iterator[Start]:
    """Yield what starts a replica; the n-th listens on 127.0.0.n."""
    started: list[Upstream] = []

    def start(respond: Any = None, port: int = 0) -> Upstream:
        replica = Upstream(respond or say(OK), f"127.0.0.{len(started) + 1}", port)
        started.append(replica)
        return replica

    yield start
    for replica in started:
        replica.drop_connections()
