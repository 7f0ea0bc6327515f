"""What containers use when nobody asks them anything: health checks, watchers, monitors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.stack import Container

SECONDS = 6.0  # some rounds of what asks each second or two; the health checks wait a minute


@dataclass(frozen=True)
class Idle:
    """CPU microseconds that each container uses in a second at rest, by its id."""

    rates: Mapping[str, float] = field(default_factory=dict)

    def part(self, container: Container, seconds: float) -> float:
        """Return the microseconds that the container would have used in this time anyway."""
        return self.rates.get(container.id, 0) * seconds

    def share(self, container: Container) -> float:
        """Return the part of one core that the container uses at rest."""
        return self.rates.get(container.id, 0) / 1e6


def at_rest(containers: Iterable[Container], seconds: float = SECONDS) -> Idle:
    """Measure what these containers use at rest. Nothing may be asked of them meanwhile."""
    watched = list(containers)
    before = [container.clock.microseconds() for container in watched]
    begun = time.monotonic()
    time.sleep(seconds)
    after = [container.clock.microseconds() for container in watched]
    taken = time.monotonic() - begun
    return Idle({one.id: (end - start) / taken for one, start, end in zip(watched, before, after, strict=True)})
