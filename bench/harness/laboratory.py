"""Plain PostgreSQL servers and a client in the application's image: where the benches of the data
tier take place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.machine import check_memory
from harness.program import Program
from harness.progress import Progress, say
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

OVERRIDE = "bench/compose.servers.yaml"
CLIENT = "client"
ANSWER_SECONDS = 30.0  # beyond those of the measurement
WARM_UP = 0.3  # seconds


@dataclass(frozen=True)
class Trial:
    """What is measured: an operation of the program, by so many threads in so many processes."""

    operation: str
    processes: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Laboratory:
    """The containers by service, and the program that runs in the client."""

    containers: Mapping[str, Container]
    program: Program

    def measure(self, trial: Trial, seconds: float) -> Measurement:
        """Take one measurement.

        Metrics: `rate` (a second), `p50` and `p99` (microseconds an operation), `cpu` (CPU
        microseconds for each thing done, in all containers) and `cpu <service>` for each.
        """
        before = self._used()
        answer = self.program.ask(
            {"run": trial.operation, "seconds": seconds, "processes": trial.processes, "threads": trial.threads},
            seconds + ANSWER_SECONDS,
        )
        after = self._used()
        used = {service: (after[service] - before[service]) / answer["count"] for service in before}
        return {
            **{metric: answer[metric] for metric in ("rate", "p50", "p99")},
            "cpu": sum(used.values()),
            **{f"cpu {service}": spent for service, spent in used.items()},
        }

    def _used(self) -> dict[str, float]:
        return {service: container.clock.microseconds() for service, container in self.containers.items()}

    def compare(self, trials: Mapping[str, Trial], rounds: int, seconds: float) -> Samples:
        """Measure the trials, by name, in turns; each once before, to open its connections."""
        say("Warming up")
        for trial in trials.values():
            self.measure(trial, WARM_UP)

        def variant(name: str, trial: Trial) -> Variant:
            return Variant(name, lambda: self.measure(trial, seconds))

        progress = Progress(rounds * 2 * len(trials), lambda one: f"{one['rate']:9,.0f}/s  p50 {one['p50']:8,.0f} µs")
        return run([variant(name, trial) for name, trial in trials.items()], rounds, progress)


def environment(services: Sequence[str]) -> dict[str, str]:
    """Return what tells the program (bench/programs/settings.py) which of the servers there are."""
    main = [name for name in services if name == "primary" or name.startswith("standby-")]
    return {
        "BENCH_MAIN": " ".join(main),
        "BENCH_SHARDS": " ".join(name for name in services if name.startswith("shard-")),
    }


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
        settings = [word for name, value in environment(services).items() for word in ("--env", f"{name}={value}")]
        command = ["docker", "exec", "--interactive", *settings, containers[CLIENT].id]
        say("Preparing the databases")
        with Program([*command, "python", "-m", "programs", program]) as running:
            yield Laboratory(containers, running)
