"""What the gateway costs a call of a service, with one caller and with many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.idle import Idle, at_rest
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, ORANGE, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "CPU and time of a call of a service: directly, and through the gateway, with 1 and with 50 callers"
SECONDS = 150

PATH = "/api/products/categories"
CALLERS = (1, 50)
CPU = Metric("cpu", "CPU µs/request")
METRICS = [
    CPU,
    Metric("rate", "requests/s", less_is_better=False),
    Metric("p50", "p50 ms", digits=2),
    Metric("p99", "p99 ms", digits=1),
]
NAMES = {"direct": "the service itself", "gateway": "through the gateway"}
CONTROL = "direct again"
ALL_NAMES = {**NAMES, CONTROL: "the service itself, again (A/A)"}
TARGETS = {"direct": ("products", 8002), CONTROL: ("products", 8002), "gateway": ("web", 8000)}


def variants(containers: Mapping[str, Container], callers: int, seconds: int, idle: Idle) -> list[Variant]:
    """Return the measurements. The CPU time is that of the gateway and the service together."""
    watched = [containers["web"], containers["products"]]

    def variant(name: str) -> Variant:
        service, port = TARGETS[name]
        load = Load(containers["load"], containers[service], port, PATH, callers, seconds, idle)
        return Variant(name, lambda: load.run(watched))

    return [variant(name) for name in ALL_NAMES]


def findings(found: Mapping[int, Samples]) -> list[str]:
    """Say what the figures mean."""
    said = []
    for callers, samples in found.items():
        own = samples.typical("gateway", "cpu web").middle
        more = {
            name: samples.typical("gateway", name).middle - samples.typical("direct", name).middle
            for name in ("p50", "p99")
        }
        said.append(
            f"With {callers} caller{'s' * (callers > 1)} the gateway adds {number(own)} µs of CPU,"
            f" {number(more['p50'], 2)} ms to the median and {number(more['p99'], 1)} ms to the 99th percentile;"
            f" {times(samples.ratio('gateway', 'direct', 'rate'))} the requests a second."
        )
    return said


def draw(found: Mapping[int, Samples], path: Path) -> None:
    """Draw the CPU time, the service's part and the gateway's."""
    with figure(path, "What the gateway costs", f"CPU microseconds a request; GET {PATH}", height=3.6) as canvas:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="y")
        rows = [(callers, name) for callers in found for name in NAMES]
        for row, (callers, name) in enumerate(rows):
            service = found[callers].typical(name, "cpu products").middle
            own = found[callers].typical(name, "cpu web").middle if name == "gateway" else 0.0
            axes.barh(row, service, color=BLUE, height=0.62, label="the service" if row == 0 else None)
            axes.barh(row, own, left=service, color=ORANGE, height=0.62, label="the gateway" if row == 1 else None)
            axes.text((service + own) * 1.01, row, f" {number(service + own)} µs", va="center")
        axes.set_yticks(
            range(len(rows)), [f"{NAMES[name]}, {callers} caller{'s' * (callers > 1)}" for callers, name in rows]
        )
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 1) if scene.quick else (7, 2)
    with scene.clean():
        stack = scene.stack(RATE_LIMIT="0", WEB_REPLICAS="1", WEB_THREADS="64")
        stack.build("postgres-1", "etcd", "redis-cache", "web", "swift")
        stack.up("load", "web", "products")
        containers = {service: one[0] for service, one in stack.containers().items()}
        say("Measuring what the containers use at rest")
        idle = at_rest(containers[name] for name in ("web", "products"))
        compared = {callers: variants(containers, callers, seconds, idle) for callers in CALLERS}
        say("Warming up")
        for some in compared.values():
            for variant in some:
                variant.measure()
        progress = Progress(
            rounds * 2 * sum(map(len, compared.values())),
            lambda one: f"{one['cpu']:6.0f} µs CPU  p50 {one['p50']:6.2f}  p99 {one['p99']:6.1f} ms",
        )
        found = {callers: run(some, rounds, progress) for callers, some in compared.items()}
    draw(found, scene.plot)
    voids = [samples.void(CONTROL, "direct", "cpu") for samples in found.values()]
    return Report(
        title="The gateway",
        question="What does a call of a service cost through the gateway, against the same call to the service itself?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"`wrk` with 1 and with 50 kept connections; `GET {PATH}`, which the service has in its process.",
            "One replica of web and one of products (1 process, 4 threads), with the stack's own settings but for two:"
            " no limit of the rate, which is one script in Redis more for a request; and 64 threads instead of 4 in"
            " each of web's two processes, so that one of them has a place for every caller: who finds none"
            " may be told 503, which measures nothing.",
            "The CPU time is that of web and products together, less what they use at rest. The load generator shares"
            " the machine's cores with them.",
        ],
        findings=findings(found),
        losses=[
            f"With {callers}: {line}"
            for callers, samples in found.items()
            for line in worse(samples, NAMES, "direct", METRICS)
        ],
        tables=[
            comparison(samples, ALL_NAMES, "direct", METRICS, f"Callers: {callers}")
            for callers, samples in found.items()
        ],
        rounds=[
            every_round(samples, ALL_NAMES, CPU, f"CPU µs a request, callers: {callers}")
            for callers, samples in found.items()
        ],
        void=[void for void in voids if void],
    )
