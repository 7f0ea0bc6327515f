"""Load: wrk, in a container on the stack's own network, bounded in time and in number.

wrk from Debian: written in C and small, so that it takes little of the cores that it shares with
what is measured. It is closed-loop: `connections` callers, each of which waits for its answer
before it asks again. The network `app` has no way out of the machine, and the target is a container
of the bench's own project: no other host can be loaded.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.engine import docker
from harness.errors import BenchError
from harness.idle import Idle
from harness.rounds import Measurement
from harness.stack import Container

MOST_SECONDS = 30
MOST_CONNECTIONS = 256
MOST_REQUESTS = 1_000_000
SETTLE_SECONDS = 3


@dataclass(frozen=True)
class Load:
    """The load of one measurement."""

    generator: Container
    target: Container
    port: int
    path: str
    connections: int
    seconds: int
    idle: Idle = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= MOST_SECONDS or not 1 <= self.connections <= MOST_CONNECTIONS:
            raise ValueError(f"{self.seconds} s with {self.connections} connections is out of bounds")

    def command(self) -> list[str]:
        """Return the arguments of docker."""
        shared = ("app", "front", "edge")  # compose.load.yaml
        address = next(self.target.addresses[name] for name in shared if name in self.target.addresses)
        url = f"http://{address}:{self.port}{self.path}"
        return [
            *("exec", self.generator.id, "wrk", "--threads", "1", "--connections", str(self.connections)),
            *("--duration", f"{self.seconds}s", "--timeout", "5s", "--script", "/load.lua"),
            *(url, "--", str(MOST_REQUESTS)),
        ]

    def run(self, watched: Sequence[Container]) -> Measurement:
        """Load the target, with the CPU time of the `watched` containers read before and after.

        Metrics: `rate` (requests a second), `p50` and `p99` (milliseconds), `cpu` (CPU microseconds
        a request, all watched containers, less what they use at rest) and `cpu <service>` for each
        of them.
        """
        settle(watched)
        before = [container.clock.microseconds() for container in watched]
        begun = time.monotonic()
        answer = docker(self.command(), timeout=self.seconds + 30)
        after = [container.clock.microseconds() for container in watched]
        taken = time.monotonic() - begun
        used = [
            end - start - self.idle.get(container.id, 0.0) * taken
            for container, start, end in zip(watched, before, after, strict=True)
        ]
        outcome = parse(answer)
        requests = outcome.pop("requests")
        by_service: dict[str, float] = defaultdict(float)
        for container, spent in zip(watched, used, strict=True):
            by_service[f"cpu {container.service}"] += spent / requests
        return {**outcome, "cpu": sum(used) / requests, **by_service}


def settle(watched: Sequence[Container]) -> None:
    """Wait until the containers have worked off what the measurement before left in their queues.

    At rest is less than a fifth of one core for a tenth of a second; after SETTLE_SECONDS it goes
    on anyway, and the A/A control tells whether that did harm.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    used = sum(container.clock.microseconds() for container in watched)
    while time.monotonic() < deadline:
        time.sleep(0.1)
        before, used = used, sum(container.clock.microseconds() for container in watched)
        if used - before < 20_000:
            return


def parse(answer: str) -> dict[str, float]:
    """Return `requests`, `rate`, and `p50` and `p99` in milliseconds from wrk's output. A failed
    request spoils a measurement: BenchError.
    """
    line = next((line for line in answer.splitlines() if line.startswith("{")), None)
    if line is None:
        raise BenchError(f"wrk reported nothing:\n{answer[-500:]}")
    facts = json.loads(line)
    if not facts["requests"]:
        raise BenchError("no request was answered: is the machine overloaded?")
    if facts["failed"]:
        raise BenchError(f"{facts['failed']} of {facts['requests']} requests failed: nothing was measured")
    if facts["requests"] >= MOST_REQUESTS:
        raise BenchError(f"the bound of {MOST_REQUESTS} requests was reached before the time was over")
    rate = facts["requests"] / (facts["microseconds"] / 1e6)
    return {"requests": facts["requests"], "rate": rate, "p50": facts["p50"] / 1000, "p99": facts["p99"] / 1000}
