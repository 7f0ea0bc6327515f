"""A view with one query: a pooled connection, a new one for each request, and one that a thread
keeps.
"""

from __future__ import annotations

from harness.laboratory import laboratory
from harness.result import IN_PROCESS, Comparison
from harness.scene import Scene

ABOUT = "Requests a second of a view with one query: pooled, persistent and new connections"
SECONDS = 75
PROGRAM = "pool"
SERVICES = ("primary",)
NAMES = {
    "pool": "the project's pool",
    "new": "new connection each request",
    "persistent": "persistent, not checked",
    "checked": "persistent, checked",
    "django": "Django's own pool",
}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        return [Comparison(NAMES, IN_PROCESS, lab.compare(NAMES, scene.rounds(10), 0.4))]
