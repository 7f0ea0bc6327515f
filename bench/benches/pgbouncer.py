"""Whether PgBouncer earns a place between pools in the processes and PostgreSQL."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.engine import docker
from harness.laboratory import Laboratory, Trial, laboratory
from harness.plot import BLUE, GREEN, ORANGE, bars, figure
from harness.report import Metric, Report, Table, comparison, every_round, number, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "a view with one query: pools in the processes, directly and through PgBouncer; and what that breaks"
SECONDS = 110
PROGRAM = "pool"
SERVICES = ("primary", "standby-1", "pgbouncer")

PROCESSES, THREADS = 6, 4  # of the stack: 3 replicas with 2 processes each, 4 threads in each
RATE = Metric("rate", "requests/s", less_is_better=False)
P50 = Metric("p50", "p50 µs")
CPU = Metric("cpu", "CPU µs/request")
METRICS = [RATE, P50, Metric("p99", "p99 µs"), CPU]


@dataclass(frozen=True)
class Group:
    """The same variants, asked by so many callers."""

    title: str
    processes: int
    threads: int
    names: Mapping[str, str]  # by operation

    def key(self, operation: str) -> str:
        """Return the variant's name."""
        return f"{operation}, {self.processes * self.threads}"

    @property
    def baseline(self) -> str:
        """Return the variant without PgBouncer."""
        return self.key("pool")

    @property
    def control(self) -> str:
        """Return the name of the A/A control."""
        return f"{self.baseline} again"

    @property
    def keyed(self) -> dict[str, str]:
        """Return the names by variant."""
        return {self.key(operation): name for operation, name in self.names.items()}

    @property
    def all_names(self) -> dict[str, str]:
        """Return the names with the control's."""
        return {**self.keyed, self.control: f"{self.names['pool']}, again (A/A)"}

    @property
    def trials(self) -> dict[str, Trial]:
        """Return what is measured."""
        operations = [*self.names, "pool"]
        return {
            key: Trial(operation, self.processes, self.threads)
            for key, operation in zip(self.all_names, operations, strict=True)
        }


POOLED = {"pool": "pool in the process", "through": "pool in the process, through PgBouncer"}
OTHERS = {
    "persistent": "persistent, directly",
    "through, persistent": "persistent, through PgBouncer",
    "through, new": "new connection each request, through PgBouncer",
}
ONE = Group("One caller", 1, 1, POOLED)
ALL = Group(f"{PROCESSES * THREADS} callers", PROCESSES, THREADS, POOLED | OTHERS)
GROUPS = [ONE, ALL]

# The server's processes for clients: their address, the name they gave, and the KiB that no other
# process shares.
BACKENDS = r"""
psql --username bench --dbname postgres --no-align --tuples-only --field-separator '|' --command \
  "SELECT pid, host(client_addr), application_name FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND client_addr IS NOT NULL" |
while IFS='|' read -r pid address name; do
  size=$(awk '/^Private_/ { sum += $2 } END { print sum }' "/proc/$pid/smaps_rollup")
  printf '%s|%s|%s\n' "$address" "$name" "$size"
done
"""
# By way in: the container that the connections come from, and the aliases that made them.
WAYS = {"directly": ("client", ["pool"]), "through PgBouncer": ("pgbouncer", list(POOLED | OTHERS))}
PGBOUNCER_MEMORY = "awk '/^Private_/ { sum += $2 } END { print sum }' /proc/$(pgrep -o pgbouncer)/smaps_rollup"


@dataclass(frozen=True)
class Held:
    """What the server holds for one way in: connections, and the private memory of one in MiB."""

    connections: int
    memory: float


def held(answer: str, address: str, names: Container[str]) -> Held:
    """Return what the lines of BACKENDS say of the connections from `address` that gave one of the
    names.
    """
    lines = [line.split("|") for line in answer.splitlines()]
    sizes = [int(size) for place, name, size in lines if place == address and name in names]
    return Held(len(sizes), sum(sizes) / len(sizes) / 1024 if sizes else 0.0)


def ask_server(lab: Laboratory) -> dict[str, Held]:
    """Count the server's connections by their way in. The pools keep theirs for a minute."""
    answer = docker(["exec", lab.containers["primary"].id, "bash", "-c", BACKENDS])
    return {
        way: held(answer, lab.containers[service].addresses["data"], names) for way, (service, names) in WAYS.items()
    }


def findings(samples: Samples, server: Mapping[str, Held]) -> list[str]:
    """Say what the figures mean."""
    direct, through = server["directly"], server["through PgBouncer"]
    added = {
        metric: f"{number(samples.typical(ONE.key('through'), metric).middle)} µs instead of"
        f" {number(samples.typical(ONE.baseline, metric).middle)},"
        f" {times(samples.ratio(ONE.key('through'), ONE.baseline, metric))}"
        for metric in ("p50", "p99")
    }
    return [
        f"{ALL.title}: through PgBouncer pools in the processes serve"
        f" {times(samples.ratio(ALL.key('through'), ALL.baseline, 'rate'))} the requests for"
        f" {times(samples.ratio(ALL.key('through'), ALL.baseline, 'cpu'))} the CPU time;"
        f" {number(samples.typical(ALL.key('through'), 'cpu pgbouncer').middle)} µs a request are PgBouncer's own.",
        f"{ONE.title}: the median is {added['p50']}; the 99th percentile {added['p99']}.",
        f"Connections at the server after that load: {direct.connections} directly (each of {PROCESSES} processes"
        f" keeps up to {THREADS}, and one for the watch), {through.connections} through PgBouncer. One that is idle"
        f" holds {direct.memory:.1f} MiB of the server's memory.",
        "Without a pool in the process PgBouncer serves"
        f" {times(samples.ratio(ALL.key('through, new'), ALL.baseline, 'rate'))} the requests: SCRAM costs the"
        " client the same, whoever answers it.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the CPU time of a request, by who used it."""
    with figure(
        path,
        "What PgBouncer costs",
        f"CPU microseconds a request, {ALL.title}: {PROCESSES} processes of {THREADS} threads; SCRAM, transaction mode",
        height=4.2,
    ) as canvas:
        parts = {
            "cpu client": ("the application", BLUE),
            "cpu primary": ("PostgreSQL", ORANGE),
            "cpu pgbouncer": ("PgBouncer", GREEN),
        }
        bars(canvas.subplots(), samples, ALL.all_names, CPU, parts)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (2, 0.4) if scene.quick else (7, 0.6)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        broken = lab.program.call("breaks")
        samples = lab.compare(ONE.trials | ALL.trials, rounds, seconds)
        server = ask_server(lab)
        own = int(docker(["exec", lab.containers["pgbouncer"].id, "bash", "-c", PGBOUNCER_MEMORY])) / 1024
    draw(samples, scene.plot)
    void = [samples.void(group.control, group.baseline, "cpu") for group in GROUPS]
    return Report(
        title="PgBouncer",
        question="Does PgBouncer in transaction mode gain anything where every process has a pool of its own?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"A request is Django's own handler with a query by primary key, without HTTP, in {PROCESSES} processes"
            f" of {THREADS} threads: 3 replicas as the stack runs them. Application, PgBouncer and PostgreSQL are"
            " containers on one machine; `scram-sha-256` on both sides of PgBouncer, no TLS, `pool_mode ="
            " transaction`, `default_pool_size = 8`, `max_prepared_statements = 200`.",
            "Connections are counted by `pg_stat_activity` at the end. Memory is what a server process shares with"
            " no other (`Private_*` in /proc/PID/smaps_rollup).",
            "What breaks is tried before, with the server's free connection taken by another client between the"
            " statements, as it happens under load (bench/programs/breaks.py).",
        ],
        findings=[*findings(samples, server), f"PgBouncer itself holds {own:.1f} MiB."],
        losses=[
            *(
                f"{group.title}: {line}"
                for group in GROUPS
                for line in worse(samples, group.keyed, group.baseline, METRICS)
            ),
            *(f"{name}: {after}." for name, (before, after) in broken.items() if after != before),
        ],
        tables=[
            *(comparison(samples, group.all_names, group.baseline, METRICS, group.title) for group in GROUPS),
            Table(
                ["", "connections at the server", "MiB each"],
                [[way, number(one.connections), number(one.memory, 1)] for way, one in server.items()],
                "Connections",
            ),
            Table(
                ["", "directly", "through PgBouncer"],
                [[name, before, after] for name, (before, after) in broken.items()],
                "What an application may do",
            ),
        ],
        rounds=[every_round(samples, group.all_names, CPU, f"{group.title}: CPU µs a request") for group in GROUPS],
        void=[reason for reason in void if reason],
    )
