"""How often three replicas compute a value that 200 clients want when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from harness.engine import docker
from harness.idle import at_rest
from harness.load import Load
from harness.result import Comparison, Metric, with_control
from harness.rounds import Measurement, Variant, run
from harness.scene import Scene

ABOUT = "Computations for each time that a value expires, with 200 clients on three replicas"
SECONDS = 150
CLIENTS = 200
TIMEOUT = 1  # second: bench/views/bench_urls.py
METRICS = [
    Metric("computed", "computations an expiry", digits=2),
    Metric("rate", "requests/s", less_is_better=False),
    Metric("p50", "p50 ms", digits=1),
    Metric("p99", "p99 ms", digits=1),
    Metric("cpu", "CPU µs/request"),
]
NAMES = {"textbook": "get, compute, set", "ours": "the two-level cache"}
REPLICAS = ["replica-1", "replica-2", "replica-3"]


def per_expiry(began: Sequence[float]) -> float:
    """Return the mean number of computations for each time that the value expired. `began`: when,
    in order.

    Those that begin less than half a time-out after the one before belong to the same expiry.
    """
    expiries = 1 + sum(later - earlier >= TIMEOUT / 2 for earlier, later in pairwise(began))
    return len(began) / expiries


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    with scene.started(["nginx"], ["load", *REPLICAS, "nginx-three"], "bench/compose.stampede.yaml") as started:
        containers = {service: found[0] for service, found in started.items()}
        watched = [containers[name] for name in REPLICAS]
        idle = at_rest(containers.values())

        def computed(name: str) -> list[float]:
            address = f"http://127.0.0.1:8000/computed/{name}/"
            said = docker(["exec", watched[0].id, "curl", "-fsS", "--max-time", "5", address])
            return sorted(map(float, said.split()))

        def measured(name: str) -> Callable[[], Measurement]:
            load = Load(containers["load"], containers["nginx-three"], 8080, f"/cached/{name}/", CLIENTS, 5, idle)

            def take() -> Measurement:
                before = len(computed(name))
                found = load.run(watched)
                return {"computed": per_expiry(computed(name)[before:]), **found}

            return take

        compared = [Variant(name, measured(name.removesuffix(" again"))) for name in with_control(NAMES)]
        for one in compared:  # warm
            one.measure()
        return [Comparison(NAMES, METRICS, run(compared, scene.rounds(4)), judged="rate")]
