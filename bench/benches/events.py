"""What it costs to tell of a change, and how many events go through one worker."""

from __future__ import annotations

from pathlib import Path

from harness.laboratory import Trial, laboratory
from harness.plot import bars, figure
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "a row and the event that tells of it against the row alone, and events a second through one worker"
SECONDS = 90
PROGRAM = "events"
SERVICES = ("primary", "queue")

NAMES = {
    "insert": "row",
    "write": "row and event, not sent",
    "tell": "row and event, sent",
}
CONTROL = "insert again"
ALL_NAMES = {**NAMES, CONTROL: "row, again (A/A)"}
TRIALS = {key: Trial("insert" if key == CONTROL else key) for key in ALL_NAMES}

P50 = Metric("p50", "median µs")
METRICS = [P50, Metric("cpu", "CPU µs")]
RATE = Metric("rate", "events/s", less_is_better=False)
THROUGH = {"through": "through one worker", "through again": "through one worker, again (A/A)"}


def findings(samples: Samples, worked: Samples) -> list[str]:
    """Say what the figures mean."""
    return [
        f"A row and its event take {times(samples.ratio('write', 'insert', 'p50'))} the time of the row alone, and"
        f" {times(samples.ratio('tell', 'insert', 'p50'))} with the message to the broker after the commit: two"
        " statements more, and one round trip to Redis.",
        f"One process of a worker receives {number(worked.typical('through', 'rate').middle)} events a second, each"
        " with its entry in the inbox, its effect and its answer, which it takes back itself.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw what a transaction takes."""
    with figure(path, "What an event costs", "microseconds for a transaction; one connection", height=3.4) as canvas:
        bars(canvas.subplots(), samples, ALL_NAMES, P50)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (3, 0.3) if scene.quick else (10, 0.5)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        samples = lab.compare(TRIALS, rounds, seconds)
        lab.program.ask({"call": "work"}, 30.0)
        worked = lab.compare(dict.fromkeys(THROUGH, Trial("through")), rounds, 2 * seconds)
    draw(samples, scene.plot)
    voids = [samples.void(CONTROL, "insert", "p50"), worked.void("through again", "through", "rate")]
    return Report(
        title="Events",
        question="What does a transaction take that tells of its change, against one that does not, and how many events"
        " does one worker get done with?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, all in"
            " one process and one thread.",
            "*Row*: one insert in a transaction. *Row and event*: `publish()` before its end, of an aggregate of its"
            " own. *Not sent*: as while the broker is away, when the relay sends it later.",
            "*Through one worker*: 200 transactions that tell one after the other, until the outbox is empty again. One"
            " process of Celery receives the events, inserts a row for each, and takes its own answers. Its effects and"
            " the outbox are in one database, so that one server does all work.",
            "The server's data are in memory: a commit waits for no disk.",
        ],
        findings=findings(samples, worked),
        losses=worse(samples, NAMES, "insert", METRICS),
        tables=[comparison(samples, ALL_NAMES, "insert", METRICS), comparison(worked, THROUGH, "through", [RATE])],
        rounds=[
            every_round(samples, ALL_NAMES, P50, "Median µs of a transaction"),
            every_round(worked, THROUGH, RATE, "Events a second"),
        ],
        void=[void for void in voids if void],
    )
