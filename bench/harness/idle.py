"""What containers use when nothing asks them anything: health checks, watchers, monitors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from harness.stack import Container

SECONDS = 6.0  # some rounds of what asks each second or two; the health checks wait a minute
type Idle = Mapping[str, float]  # CPU microseconds in a second at rest, by the container's id


def at_rest(containers: Iterable[Container], seconds: float = SECONDS) -> Idle:
    """Measure what these containers use at rest. Nothing may be asked of them during that time."""
    watched = list(containers)
    before = [container.clock.microseconds() for container in watched]
    begun = time.monotonic()
    time.sleep(seconds)
    after = [container.clock.microseconds() for container in watched]
    taken = time.monotonic() - begun
    return {one.id: (end - start) / taken for one, start, end in zip(watched, before, after, strict=True)}
