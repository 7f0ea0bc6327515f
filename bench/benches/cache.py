"""What a look-up costs at each level, against the least that it could cost."""

from __future__ import annotations

from harness.program import Program
from harness.result import Comparison, Metric, with_control
from harness.rounds import Variant, run
from harness.scene import Scene

ABOUT = "Microseconds a look-up: the two levels of the cache, and what they are compared with"
SECONDS = 120
METRICS = [Metric("us", "µs", digits=2)]
# Operations of bench/views/bench_cache.py, compared with the first of their group.
GROUPS = {
    "In the process": {
        "LocMemCache": "Django's LocMemCache",
        "local": "our L1 through Django's cache API",
        "decorator": "a call of a cached function",
        "dict": "a bare dict",
    },
    "In Redis": {
        "raw GET": "GET over a bare socket",
        "raw MGET": "MGET of 20 keys over a bare socket",
        "L2": "our L2, with its tags",
    },
    "Several keys": {"1 key": "django-redis, 1 key", "20 keys": "django-redis, 20 keys"},
    "The front page without its foot": {
        "front, database": "front page, from the database",
        "front, L2": "front page, from L2",
        "front, L1": "front page, from L1",
    },
}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    with scene.started([], ["cache-client"], "bench/compose.cache.yaml") as containers:
        client = containers["cache-client"][0].id
        with Program(["docker", "exec", "--interactive", client, "python", "-m", "bench_cache"]) as program:

            def variant(name: str) -> Variant:
                question = {"run": name.removesuffix(" again"), "seconds": 0.08}
                return Variant(name, lambda: program.ask(question))

            return [
                Comparison(
                    names, METRICS, run([variant(name) for name in with_control(names)], scene.rounds(24)), title
                )
                for title, names in GROUPS.items()
            ]
