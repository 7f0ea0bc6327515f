"""A page over all shards by `.scatter()`, against the same page from one shard."""

from __future__ import annotations

from harness.laboratory import laboratory
from harness.result import Comparison, Metric
from harness.scene import Scene

ABOUT = "A page of 100 rows: from one shard, from three in turn, from three by scatter()"
SECONDS = 60
PROGRAM = "scatter"
SERVICES = ("primary", "shard-one", "shard-two", "shard-three")
NAMES = {"one": "one shard", "in turn": "three shards, one after the other", "scatter": "three shards, scatter()"}
METRICS = [
    Metric("p50", "p50 µs"),
    Metric("p99", "p99 µs"),
    Metric("cpu", "CPU µs/page"),
    Metric("cpu client", "CPU µs/page of the client"),
]


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        return [Comparison(NAMES, METRICS, lab.compare(NAMES, scene.rounds(10), 0.6))]
