"""How often three replicas compute a value that 200 clients want when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from harness.engine import docker
from harness.idle import Idle, at_rest
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, RED, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "computations for each time that a value expires, with 200 clients on three replicas"
SECONDS = 150

CLIENTS = 200
TIMEOUT = 1  # second: bench/views/bench_urls.py
COMPUTED = Metric("computed", "computations an expiry")
METRICS = [
    COMPUTED,
    Metric("rate", "requests/s", less_is_better=False),
    Metric("p50", "p50 ms", digits=1),
    Metric("p99", "p99 ms", digits=1),
    Metric("cpu", "CPU µs/request"),
]
NAMES = {
    "textbook": "get, compute, set",
    "textbook again": "get, compute, set, again (A/A)",
    "ours": "the two-level cache",
}
REPLICAS = ["replica-1", "replica-2", "replica-3"]


def per_expiry(began: Sequence[float]) -> float:
    """Return the mean number of computations for each time that the value expired. `began`: when,
    in order.

    Those that begin less than half a time-out after the one before belong to the same expiry.
    """
    expiries = 1 + sum(later - earlier >= TIMEOUT / 2 for earlier, later in pairwise(began))
    return len(began) / expiries


def variants(containers: Mapping[str, Container], seconds: int, idle: Idle) -> list[Variant]:
    """Return the measurement of each way to cache."""
    watched = [containers[name] for name in REPLICAS]

    def computed(way: str) -> list[float]:
        address = f"http://127.0.0.1:8000/computed/{way}/"
        said = docker(["exec", watched[0].id, "curl", "-fsS", "--max-time", "5", address])
        return sorted(map(float, said.split()))

    def measured(way: str) -> Callable[[], Measurement]:
        path = f"/cached/{way}/"
        load = Load(containers["load"], containers["nginx-three"], 8080, path, CLIENTS, seconds, idle)

        def measure() -> Measurement:
            before = len(computed(way))
            found = load.run(watched)
            return {**found, "computed": per_expiry(computed(way)[before:])}

        return measure

    return [Variant(name, measured(name.partition(" ")[0])) for name in NAMES]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""

    def typical(name: str) -> str:
        return number(samples.typical(name, "computed").middle, 2)

    return [
        f"While {CLIENTS} clients ask three replicas, a value that lives {TIMEOUT} s is computed {typical('ours')}"
        f" times each time that it expires by the two-level cache, and {typical('textbook')} times by get, compute,"
        " set.",
        f"The two-level cache answers {times(samples.ratio('ours', 'textbook', 'rate'))} the requests a second.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the computations."""
    with figure(path, "Computations an expiry", f"{CLIENTS} clients, three replicas", height=3.2) as canvas:
        axes = canvas.subplots()
        shown = [name for name in NAMES if not name.endswith("again")]
        bars = axes.barh(
            [NAMES[name] for name in shown],
            [samples.typical(name, "computed").middle for name in shown],
            color=[RED, BLUE],
        )
        axes.bar_label(bars, fmt="%.2f", padding=4)
        axes.margins(x=0.12)
        axes.invert_yaxis()


def start(scene: Scene) -> Mapping[str, Container]:
    """Start three replicas with the bench's own views, and nginx in front."""
    stack = scene.stack("bench/compose.stampede.yaml")
    stack.build("postgres-1", "etcd", "redis-cache", "web", "nginx")
    stack.up("load", *REPLICAS, "nginx-three")
    return {service: found[0] for service, found in stack.containers().items()}


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 3) if scene.quick else (4, 5)
    with scene.clean():
        containers = start(scene)
        say("Measuring what the containers use at rest")
        compared = variants(containers, seconds, at_rest(containers.values()))
        say("Warming up")
        for variant in compared[1:]:
            variant.measure()
        progress = Progress(
            rounds * 2 * len(compared), lambda one: f"{one['computed']:5.2f} computed  {one['rate']:6.0f} requests/s"
        )
        samples = run(compared, rounds, progress)
    draw(samples, scene.plot)
    reason = samples.void("textbook again", "textbook", "rate")
    return Report(
        title="Computations for each time that a value expires",
        question=f"How often is a value computed that {CLIENTS} clients want from three replicas when its time is"
        " over?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"`wrk` with {CLIENTS} kept connections through nginx to three replicas of 2 processes and 4 threads each."
            f" The value lives {TIMEOUT} s and takes 0.1 s to compute, waiting. When each"
            " computation begins is noted in Redis; those that begin less than half a time-out after the one before"
            " belong to the same expiry.",
            "*Get, compute, set*: the textbook's way, with django-redis.",
            "The load generator and nginx share the machine's cores with the replicas.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "textbook", METRICS),
        tables=[comparison(samples, NAMES, "textbook", METRICS, "Ways to cache")],
        rounds=[every_round(samples, NAMES, COMPUTED, "Computations an expiry")],
        void=[reason] if reason else [],
    )
