"""Whether PgBouncer earns a place between pools in the processes and PostgreSQL."""

from __future__ import annotations

from harness.laboratory import laboratory
from harness.result import CPU, IN_PROCESS, Comparison
from harness.scene import Scene

ABOUT = "A view with one query: pools in the processes, directly and through PgBouncer"
SECONDS = 110
PROGRAM = "pool"
SERVICES = ("primary", "pgbouncer")
PROCESSES, THREADS = 6, 4  # of the stack: 3 replicas with 2 processes each, 4 threads in each
ONE = {"pool": "pool in the process", "through": "pool in the process, through PgBouncer"}
NAMES = ONE | {
    "persistent": "persistent, directly",
    "through, persistent": "persistent, through PgBouncer",
    "through, new": "new connection each request, through PgBouncer",
}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    rounds = scene.rounds(7)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        one = lab.compare(ONE, rounds, 0.6)
        many = lab.compare(NAMES, rounds, 0.6, PROCESSES, THREADS)
    return [
        Comparison(ONE, [CPU, *IN_PROCESS[:-1]], one, "One caller"),
        Comparison(NAMES, [CPU, *IN_PROCESS[:-1]], many, f"{PROCESSES * THREADS} callers"),
    ]
