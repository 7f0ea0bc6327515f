"""What an answer out of the edge cache costs, against the least that the same server can say, and
the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.idle import Idle, at_rest
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "requests a second of the edge cache: a hit, against a bare 200 and against the origin"
SECONDS = 130

CONNECTIONS = 32
PATH = "/api/products/?limit=1"
RATE = Metric("rate", "requests/s", less_is_better=False)
METRICS = [RATE, Metric("p50", "p50 ms", digits=2), Metric("p99", "p99 ms", digits=1), Metric("cpu", "CPU µs/request")]
NAMES = {
    "200": "a 200 that Varnish makes itself",
    "200 again": "a 200 that Varnish makes itself, again (A/A)",
    "hit": "a hit",
    "origin": "the origin, through nginx and the gateway",
}
# Where each is asked: service, port, path.
TARGETS = {
    "200": ("cdn", 8081, "/live"),
    "200 again": ("cdn", 8081, "/live"),
    "hit": ("cdn", 8080, PATH),
    "origin": ("nginx", 8080, PATH),
}


def variants(containers: Mapping[str, list[Container]], seconds: int, idle: Idle) -> list[Variant]:
    """Return the measurements."""
    generator = containers["load"][0]
    behind = [one for name in ("nginx", "web", "products", "redis-cache") for one in containers[name]]

    def variant(name: str) -> Variant:
        service, port, path = TARGETS[name]
        target = containers[service][0]
        load = Load(generator, target, port, path, CONNECTIONS, seconds, idle)
        watched = behind if service == "nginx" else [target]
        return Variant(name, lambda: load.run(watched))

    return [variant(name) for name in NAMES]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    return [
        f"The edge answers {number(samples.typical('hit', 'rate').middle, 0)} hits a second:"
        f" {times(samples.ratio('hit', '200', 'rate'))} as many as bare 200s, and"
        f" {times(samples.ratio('hit', 'origin', 'rate'))} as many as the origin, which has the answer in a cache too.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the rates."""
    subtitle = f"requests a second, {CONNECTIONS} connections"
    with figure(path, "What the edge cache gains", subtitle, height=3.4) as canvas:
        axes = canvas.subplots()
        shown = [name for name in NAMES if not name.endswith("again")]
        bars = axes.barh(
            [NAMES[name] for name in shown], [samples.typical(name, "rate").middle for name in shown], color=BLUE
        )
        axes.bar_label(bars, fmt="%.0f", padding=4)
        axes.margins(x=0.12)
        axes.invert_yaxis()


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 1) if scene.quick else (6, 2)
    with scene.clean():
        # Nobody is to be told that he asks too often.
        stack = scene.stack(RATE_LIMIT="0")
        stack.build("postgres-1", "etcd", "redis-cache", "web", "nginx", "swift", "cdn")
        stack.up("load", "nginx", "products", "cdn")
        containers = stack.containers()
        say("Measuring what the containers use at rest")
        compared = variants(containers, seconds, at_rest(one for found in containers.values() for one in found))
        say("Warming up")
        for variant in compared[2:]:
            variant.measure()
        progress = Progress(
            rounds * 2 * len(compared), lambda one: f"{one['rate']:6.0f} requests/s  p99 {one['p99']:5.1f} ms"
        )
        samples = run(compared, rounds, progress)
    draw(samples, scene.plot)
    reason = samples.void("200 again", "200", "rate")
    return Report(
        title="What the edge cache gains",
        question="How many requests a second does the edge answer from what it keeps, and how many could it at most?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"`wrk` with {CONNECTIONS} kept connections to Varnish, and to nginx for the origin. A hit is"
            f" `GET {PATH}`, which is kept for 30 s and fetched anew behind the callers' backs.",
            "*A 200 that Varnish makes itself*: `/live`, without a body, without a look at what is kept.",
            "*The origin*: nginx, three replicas of web with the gateway, one of products, whose cache has the answer."
            " The CPU time is that of all of them.",
            "The load generator shares the machine's cores with what it asks.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "200", METRICS),
        tables=[comparison(samples, NAMES, "200", METRICS, "The edge")],
        rounds=[every_round(samples, NAMES, RATE, "Requests a second")],
        void=[reason] if reason else [],
    )
