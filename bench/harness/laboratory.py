"""Plain PostgreSQL servers and a client in the application's image: where the benches of the data
tier take place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.machine import check_memory
from harness.program import Program
from harness.result import control_of, with_control
from harness.rounds import Measurement, Samples, Variant, run, say
from harness.scene import Scene
from harness.stack import Container

OVERRIDE = "bench/compose.servers.yaml"
CLIENT = "client"
ANSWER_SECONDS = 30.0  # beyond those of the measurement
WARM_UP = 0.3  # seconds


@dataclass(frozen=True)
class Laboratory:
    """The containers by service, and the program that runs in the client."""

    containers: Mapping[str, Container]
    program: Program

    def measure(self, operation: str, seconds: float, processes: int, threads: int) -> Measurement:
        """Measure an operation of the program, by so many threads in each of so many processes.

        Metrics: `rate` (a second), `p50` and `p99` (microseconds an operation), `cpu` (CPU
        microseconds for each thing done, in all containers) and `cpu <service>` for each.
        """
        before = self._used()
        question = {"run": operation, "seconds": seconds, "processes": processes, "threads": threads}
        answer = self.program.ask(question, seconds + ANSWER_SECONDS)
        used = {service: (now - before[service]) / answer["count"] for service, now in self._used().items()}
        figures = {metric: answer[metric] for metric in ("rate", "p50", "p99")}
        return figures | {"cpu": sum(used.values())} | {f"cpu {service}": spent for service, spent in used.items()}

    def _used(self) -> dict[str, float]:
        return {service: container.clock.microseconds() for service, container in self.containers.items()}

    def compare(
        self, names: Mapping[str, str], rounds: int, seconds: float, processes: int = 1, threads: int = 1
    ) -> Samples:
        """Measure the operations `names` and their control in turns; each once before, to open its
        connections.
        """
        baseline = next(iter(names))

        def variant(name: str) -> Variant:
            operation = baseline if name == control_of(names) else name
            return Variant(name, lambda: self.measure(operation, seconds, processes, threads))

        say("Warming up")
        for name in names:
            self.measure(name, WARM_UP, processes, threads)
        return run([variant(name) for name in with_control(names)], rounds)


@contextmanager
def laboratory(scene: Scene, program: str, services: Sequence[str]) -> Iterator[Laboratory]:
    """Start `services` of compose.servers.yaml and bench/programs/`program`.py in the client;
    remove all afterwards.
    """
    check_memory()
    with scene.clean():
        stack = scene.stack(OVERRIDE)
        stack.build("postgres-1", "web", *(["redis-cache"] if "queue" in services else []))
        stack.up(CLIENT, *services)
        containers = {service: found[0] for service, found in stack.containers().items()}
        shards = " ".join(name for name in services if name.startswith("shard-"))
        command = ["docker", "exec", "--interactive", "--env", f"BENCH_SHARDS={shards}", containers[CLIENT].id]
        say("Preparing the databases")
        with Program([*command, "python", "-m", "programs", program]) as running:
            yield Laboratory(containers, running)
