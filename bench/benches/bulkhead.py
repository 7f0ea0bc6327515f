"""What the rest of a site pays for one service that hangs, with the gateway's bulkhead and
without.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.engine import docker
from harness.errors import BenchError
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "the site's p99 while one service hangs, with the gateway's bulkhead and without"
SECONDS = 400

PAGE, CALL = "/counter/", "/api/orders/"
READERS, CALLERS = 4, 12
RECOVERY = 30  # seconds
P99 = Metric("p99", "p99 ms", digits=1)
METRICS = [P99, Metric("p50", "p50 ms", digits=2), Metric("rate", "requests/s", less_is_better=False)]
NAMES = {
    "well": "the service answers",
    "well again": "the service answers, again (A/A)",
    "bulkhead": "it hangs, with the bulkhead",
    "open": "it hangs, without",
}


@contextmanager
def callers(generator: Container, target: Container, seconds: int) -> Iterator[None]:
    """Let CALLERS ask for the service meanwhile; what they are answered does not count."""
    command = ["docker", "exec", generator.id, "wrk", "--threads", "1", "--connections", str(CALLERS)]
    command += ["--duration", f"{seconds}s", "--timeout", "5s", f"http://{target.addresses['app']}:8000{CALL}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.wait(timeout=seconds + 30)


def recovered(target: Container) -> None:
    """Wait until the service is called again by every process: 401 twenty times in a row."""
    deadline, row = time.monotonic() + RECOVERY, 0
    command = ["exec", target.id, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5"]
    while row < 20:
        if time.monotonic() > deadline:
            raise BenchError(f"{target.service} did not find its service again within {RECOVERY} s")
        row = row + 1 if docker([*command, f"http://127.0.0.1:8000{CALL}"]) == "401" else 0


def variants(containers: Mapping[str, Container], seconds: int) -> list[Variant]:
    """Return the measurements."""
    generator, orders = containers["load"], containers["orders"]

    def measure(service: str, *, hangs: bool) -> Callable[[], Measurement]:
        target = containers[service]
        load = Load(generator, target, 8000, PAGE, READERS, seconds)

        def take() -> Measurement:
            recovered(target)
            if hangs:
                docker(["pause", orders.id])
            try:
                with callers(generator, target, seconds):
                    return load.run([])
            finally:
                if hangs:
                    docker(["unpause", orders.id])

        return take

    return [
        Variant("well", measure("web", hangs=False)),
        Variant("well again", measure("web", hangs=False)),
        Variant("bulkhead", measure("web", hangs=True)),
        Variant("open", measure("web-open", hangs=True)),
    ]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""

    def typical(name: str) -> str:
        return f"{number(samples.typical(name, 'p99').middle, 1)} ms"

    return [
        f"While the service hangs, 99 of 100 requests for another page are answered within {typical('bulkhead')} with"
        f" the bulkhead and within {typical('open')} without; while it answers, within {typical('well')}.",
        f"With the bulkhead that is {times(samples.ratio('bulkhead', 'well', 'p99'))}, without it"
        f" {times(samples.ratio('open', 'well', 'p99'))}. The breaker is there in both cases: it opens after four"
        " calls that failed, and until then each holds a thread for 1.8 s.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the 99th percentiles."""
    with figure(path, "One service hangs", "p99 of another page, milliseconds", height=3.2) as canvas:
        axes = canvas.subplots()
        shown = [name for name in NAMES if not name.endswith("again")]
        bars = axes.barh(
            [NAMES[name] for name in shown], [samples.typical(name, "p99").middle for name in shown], color=BLUE
        )
        axes.bar_label(bars, fmt="%.0f", padding=4)
        axes.margins(x=0.12)
        axes.invert_yaxis()


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 4) if scene.quick else (12, 6)
    with scene.clean():
        stack = scene.stack("bench/compose.bulkhead.yaml", RATE_LIMIT="0", WEB_REPLICAS="1")
        stack.build("postgres-1", "etcd", "redis-cache", "web", "swift")
        stack.up("load", "web", "web-open", "orders")
        containers = {service: one[0] for service, one in stack.containers().items()}
        compared = variants(containers, seconds)
        say("Warming up")
        compared[0].measure()
        progress = Progress(
            rounds * len(compared), lambda one: f"p99 {one['p99']:7.1f} ms  {one['rate']:6.0f} requests/s"
        )
        samples = run(compared, rounds, progress, mirrored=False)
    draw(samples, scene.plot)
    reason = samples.void("well again", "well", "p99", tolerance=0.15, widest=1.0)  # of a percentile of thousands
    return Report(
        title="One service hangs",
        question="How long does another page of the site take while one service hangs?",
        method=[
            f"{rounds} rounds, every second one backwards, {seconds} s a measurement, from the moment at which the"
            " service was frozen (`docker pause`).",
            f"`wrk`: {READERS} readers of `{PAGE}` and {CALLERS} callers of `{CALL}` at the same time, at one replica"
            " of web with 2 processes of 4 threads.",
            "*Without*: `GATEWAY['CONCURRENCY']` is 1000, all else as it is. Before each measurement the service is"
            " back, and every breaker is closed.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "well", METRICS),
        tables=[comparison(samples, NAMES, "well", METRICS)],
        rounds=[every_round(samples, NAMES, P99, "p99 in ms")],
        void=[reason] if reason else [],
    )
