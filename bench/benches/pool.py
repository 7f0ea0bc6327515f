"""A view with one query: a pooled connection, a new one for each request, and one that a thread
keeps.
"""

from __future__ import annotations

from pathlib import Path

from harness.laboratory import Trial, laboratory
from harness.plot import BLUE, ORANGE, bars, figure
from harness.report import Metric, Report, comparison, every_round, target, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "requests a second of a view with one query: pooled, persistent and new connections"
SECONDS = 75
PROGRAM = "pool"
SERVICES = ("primary",)

NAMES = {
    "pool": "the project's pool",
    "new": "new connection each request",
    "persistent": "persistent, not checked",
    "checked": "persistent, checked",
    "django": "Django's own pool",
}
CONTROL = "pool again"
ALL_NAMES = {**NAMES, CONTROL: "the project's pool again (A/A)"}
TRIALS = {key: Trial("pool" if key == CONTROL else key) for key in ALL_NAMES}
# Of the pool's requests a second over each of these.
LEAST = {"new": 12.0, "persistent": 0.97}

RATE = Metric("rate", "requests/s", less_is_better=False)
CPU = Metric("cpu", "CPU µs/request")
METRICS = [RATE, Metric("p50", "p50 µs"), Metric("p99", "p99 µs"), CPU]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    said = []
    for key, least in LEAST.items():
        ratio = samples.ratio("pool", key, "rate")
        said.append(
            f"{NAMES['pool'].capitalize()} serves {times(ratio)} the requests of: {NAMES[key]};"
            f" {target(ratio, least=least)}."
        )
    said += [
        f"{NAMES['pool'].capitalize()} serves {times(samples.ratio('pool', key, 'rate'))} the requests of:"
        f" {NAMES[key]}, which asks the server before each request whether the connection is alive."
        for key in ("checked", "django")
    ]
    client = samples.typical("new", "cpu client").middle / samples.typical("new", "cpu").middle
    return [
        *said,
        f"Of the CPU time of a request with a new connection {client:.0%} is the client's: SCRAM hashes the password"
        " 4,096 times there.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the CPU time of a request, the client's and the server's."""
    with figure(
        path,
        "What a connection costs a request",
        "CPU microseconds of a view with one query, in one process; SCRAM, a server in another container",
        height=4.2,
    ) as canvas:
        parts = {"cpu client": ("the application", BLUE), "cpu primary": ("PostgreSQL", ORANGE)}
        bars(canvas.subplots(), samples, ALL_NAMES, CPU, parts)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (3, 0.3) if scene.quick else (10, 0.4)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        samples = lab.compare(TRIALS, rounds, seconds)
    draw(samples, scene.plot)
    void = samples.void(CONTROL, "pool", "rate")
    return Report(
        title="Pooled connections",
        question="How many requests a second does a view with one query serve over a pooled connection, a new one for"
        " each request, and one that its thread keeps?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, all in"
            " one process and one thread.",
            "A request is Django's own handler in the process, without middleware and HTTP, so the connection's"
            " part is at its largest; the query is a row by its primary key. The server is in a container of its"
            " own, with `scram-sha-256` and no TLS, as in the stack.",
            "*The project's pool*: `scaleout.replication.backend`; a connection that the server has closed is seen by a"
            " system call. *New*: `CONN_MAX_AGE=0`. *Persistent*: `CONN_MAX_AGE=None`, one connection a thread;"
            " *checked*: with `CONN_HEALTH_CHECKS`, a query more for each request. *Django's own pool*:"
            " `OPTIONS['pool']`, checked.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "pool", METRICS),
        tables=[comparison(samples, ALL_NAMES, "pool", METRICS)],
        rounds=[every_round(samples, ALL_NAMES, RATE, "Requests a second")],
        void=[void] if void else [],
    )
