"""How long a new id takes: of a bucket, of a sequence, and of no server."""

from __future__ import annotations

from harness.laboratory import laboratory
from harness.result import Comparison, Metric
from harness.scene import Scene

ABOUT = "Ids a second: of a bucket, of a sequence, one by one and 100 at a time, and UUIDv7 in Python"
SECONDS = 60
PROGRAM = "ids"
SERVICES = ("primary", "shard-one")
NAMES = {
    "nextval": "sequence, one",
    "new_id": "bucket, one",
    "nextval, block": "sequence, 100 at a time",
    "take, block": "bucket, 100 at a time",
    "uuid7": "UUIDv7 in Python",
}
METRICS = [Metric("rate", "ids/s", less_is_better=False), Metric("cpu", "CPU µs/id", digits=1)]


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        return [Comparison(NAMES, METRICS, lab.compare(NAMES, scene.rounds(10), 0.3))]
