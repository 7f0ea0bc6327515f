"""What it costs to tell of a change, and how many events go through one worker."""

from __future__ import annotations

from harness.laboratory import laboratory
from harness.result import Comparison, Metric
from harness.scene import Scene

ABOUT = "A row and its event against the row alone, and events a second through one worker"
SECONDS = 90
PROGRAM = "events"
SERVICES = ("primary", "queue")
NAMES = {"insert": "row", "write": "row and event, not sent", "tell": "row and event, sent"}
THROUGH = {"through": "through one worker"}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    rounds = scene.rounds(10)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        published = lab.compare(NAMES, rounds, 0.5)
        lab.program.ask({"call": "work"}, 30.0)
        worked = lab.compare(THROUGH, rounds, 1.0)
    return [
        Comparison(NAMES, [Metric("p50", "median µs"), Metric("cpu", "CPU µs")], published),
        Comparison(THROUGH, [Metric("rate", "events/s", less_is_better=False)], worked),
    ]
