"""What the rest of a site pays for one service that hangs, with the gateway's bulkhead and
without.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.engine import docker
from harness.errors import BenchError
from harness.load import Load
from harness.result import Comparison, Metric, with_control
from harness.rounds import Measurement, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "The site's p99 while one service hangs, with the gateway's bulkhead and without"
SECONDS = 400
PAGE, CALL = "/counter/", "/api/orders/"
READERS, CALLERS, LOAD_SECONDS = 4, 12, 6
RECOVERY = 30  # seconds
METRICS = [
    Metric("p99", "p99 ms", digits=1),
    Metric("p50", "p50 ms", digits=2),
    Metric("rate", "requests/s", less_is_better=False),
]
NAMES = {
    "well": "the service answers",
    "bulkhead": "it hangs, with the bulkhead",
    "open": "it hangs, without",
}


@contextmanager
def callers(generator: Container, target: Container) -> Iterator[None]:
    """Let CALLERS ask for the service during the measurement; their answers do not count."""
    command = ["docker", "exec", generator.id, "wrk", "--threads", "1", "--connections", str(CALLERS)]
    command += ["--duration", f"{LOAD_SECONDS}s", "--timeout", "5s", f"http://{target.addresses['app']}:8000{CALL}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.wait(timeout=LOAD_SECONDS + 30)


def recovered(target: Container) -> None:
    """Wait until the service is called again by every process: 401 twenty times in a row."""
    deadline, row = time.monotonic() + RECOVERY, 0
    command = ["exec", target.id, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5"]
    while row < 20:
        if time.monotonic() > deadline:
            raise BenchError(f"{target.service} did not find its service again within {RECOVERY} s")
        row = row + 1 if docker([*command, f"http://127.0.0.1:8000{CALL}"]) == "401" else 0


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    settings = {"RATE_LIMIT": "0", "WEB_REPLICAS": "1"}
    with scene.started(
        ["swift"], ["load", "web", "web-open", "orders"], "bench/compose.bulkhead.yaml", **settings
    ) as containers:
        generator, orders = containers["load"][0], containers["orders"][0]

        def measured(name: str) -> Callable[[], Measurement]:
            target = containers["web-open" if name == "open" else "web"][0]
            load = Load(generator, target, 8000, PAGE, READERS, LOAD_SECONDS)

            def take() -> Measurement:
                recovered(target)
                if name in ("bulkhead", "open"):
                    docker(["pause", orders.id])
                try:
                    with callers(generator, target):
                        return load.run([])
                finally:
                    if name in ("bulkhead", "open"):
                        docker(["unpause", orders.id])

            return take

        compared = [Variant(name, measured(name)) for name in with_control(NAMES)]
        compared[0].measure()  # warm
        samples = run(compared, scene.rounds(12), mirrored=False)
        # Of a percentile of thousands.
        return [Comparison(NAMES, METRICS, samples, tolerance=0.15, widest=1.0)]
