"""How long a new id takes: of a bucket, of a sequence, and of no server."""

from __future__ import annotations

from pathlib import Path

from harness.laboratory import Trial, laboratory
from harness.plot import bars, figure
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "ids a second: of a bucket, of a sequence, one by one and 100 at a time, and UUIDv7 in Python"
SECONDS = 60
PROGRAM = "ids"
SERVICES = ("primary", "shard-one")

NAMES = {
    "nextval": "sequence, one",
    "new_id": "bucket, one",
    "nextval, block": "sequence, 100 at a time",
    "take, block": "bucket, 100 at a time",
    "uuid7": "UUIDv7 in Python",
}
CONTROL = "nextval again"
ALL_NAMES = {**NAMES, CONTROL: "sequence, one, again (A/A)"}
TRIALS = {key: Trial("nextval" if key == CONTROL else key) for key in ALL_NAMES}

RATE = Metric("rate", "ids/s", less_is_better=False)
METRICS = [RATE, Metric("cpu", "CPU µs/id", digits=1)]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    one, many = samples.typical("new_id", "rate").middle, samples.typical("take, block", "rate").middle
    return [
        f"One connection takes {number(one)} ids a second one by one,"
        f" {times(samples.ratio('new_id', 'nextval', 'rate'))} those of a sequence: an id is an update of its"
        " bucket's row, and the reckoning of a bucket and its shard.",
        f"100 at a time it takes {number(many)}, {times(samples.ratio('take, block', 'nextval, block', 'rate'))}"
        " those of a sequence in the same way: it is one update for all 100.",
        f"A UUIDv7 in Python is made {number(samples.typical('uuid7', 'rate').middle)} times a second, by nobody's"
        " leave; it has 128 bits, and says nothing of its shard.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the ids a second, which differ too much for anything but powers of ten."""
    with figure(
        path,
        "What a new id takes",
        "ids a second over one connection, powers of ten; one server for all, in another container",
        height=4.2,
    ) as canvas:
        axes = canvas.subplots()
        bars(axes, samples, ALL_NAMES, RATE)
        axes.set_xscale("log")
        axes.set_xlim(100, 1e3 * max(samples.typical(key, "rate").high for key in ALL_NAMES))


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (3, 0.2) if scene.quick else (10, 0.3)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        samples = lab.compare(TRIALS, rounds, seconds)
    draw(samples, scene.plot)
    void = samples.void(CONTROL, "nextval", "rate")
    return Report(
        title="New ids",
        question="How many ids a second does one connection take from buckets, against a sequence of the same server"
        " and against UUIDs that need none?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, all in"
            " one process and one thread.",
            "*Bucket, one*: `User.objects.new_id()` of a random bucket; *100 at a time*: `scaleout.sharding.ids.take`,"
            " which is what `bulk_create` calls. *Sequence*: `nextval`, one by one and over `generate_series`. All in"
            " autocommit.",
            "The server's data are in memory: a commit waits for no disk. On a disk each update of a bucket waits"
            " for one; a sequence writes to the log once in 32 values and waits for nothing.",
        ],
        findings=findings(samples),
        losses=[
            *worse(samples, {key: NAMES[key] for key in ("nextval", "new_id")}, "nextval", METRICS),
            *worse(
                samples,
                {key: NAMES[key] for key in ("nextval, block", "take, block")},
                "nextval, block",
                METRICS,
            ),
            "A sequence as a column's default needs no statement of its own. An id of a bucket is one more round"
            " trip before each single insert; `bulk_create` needs one for each bucket.",
        ],
        tables=[comparison(samples, ALL_NAMES, "nextval", METRICS)],
        rounds=[every_round(samples, ALL_NAMES, RATE, "Ids a second")],
        void=[void] if void else [],
    )
