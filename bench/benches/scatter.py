"""A page over all shards by `.scatter()`, against the same page from one shard."""

from __future__ import annotations

from pathlib import Path

from harness.laboratory import Trial, laboratory
from harness.plot import bars, figure
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "milliseconds for a page of 100 rows: from one shard, from three in turn, from three by scatter()"
SECONDS = 60
PROGRAM = "scatter"
SERVICES = ("primary", "shard-one", "shard-two", "shard-three")

NAMES = {"one": "one shard", "in turn": "three shards, one after the other", "scatter": "three shards, scatter()"}
CONTROL = "one again"
ALL_NAMES = {**NAMES, CONTROL: "one shard again (A/A)"}
TRIALS = {key: Trial("one" if key == CONTROL else key) for key in ALL_NAMES}

P50 = Metric("p50", "p50 µs")
METRICS = [
    P50,
    Metric("p99", "p99 µs"),
    Metric("cpu", "CPU µs/page"),
    Metric("cpu client", "CPU µs/page of the client"),
]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    turn = samples.ratio("in turn", "one", "p50")
    extra = samples.typical("scatter", "p50").middle - samples.typical("one", "p50").middle
    return [
        f"A page over three shards by `.scatter()` takes {times(samples.ratio('scatter', 'one', 'p50'))} as long as"
        f" a page from one, {number(extra)} µs more. Asked one after the other, without a snapshot and without a"
        f" deadline, they take {times(turn)}.",
        "In CPU time, of the client and all servers together, it is"
        f" {times(samples.ratio('scatter', 'one', 'cpu'))};"
        f" {samples.typical('scatter', 'cpu client').middle / samples.typical('scatter', 'cpu').middle:.0%} of it is"
        " the client's. Each shard gives a whole page, of which two thirds are thrown away, and tells which buckets"
        " it shows.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the time of a page."""
    with figure(
        path,
        "A page from one shard and from three",
        "median microseconds for 100 rows by id, one caller, servers in other containers",
        height=3.6,
    ) as canvas:
        bars(canvas.subplots(), samples, ALL_NAMES, P50)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (3, 0.4) if scene.quick else (10, 0.6)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        samples = lab.compare(TRIALS, rounds, seconds)
    draw(samples, scene.plot)
    void = samples.void(CONTROL, "one", "p50")
    return Report(
        title="A page over all shards",
        question="How long does a page of 100 users take from all three shards by `.scatter()`, against the same page"
        " from one shard?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, one caller.",
            "30,000 users over three shards, each a PostgreSQL server in a container of its own, data in memory; a"
            " page starts at a random id. *One shard* asks the first shard for as many rows: a third of the users,"
            " the same page size.",
            "The servers share the machine's cores with each other and with the client. Shards on machines of their"
            " own would not wait for each other, so `.scatter()` is at a disadvantage here.",
            "Each call ends as a request does: its connections go back to their pools.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "one", METRICS),
        tables=[comparison(samples, ALL_NAMES, "one", METRICS)],
        rounds=[every_round(samples, ALL_NAMES, P50, "p50 µs")],
        void=[void] if void else [],
    )
