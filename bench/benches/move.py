"""Moving buckets: the project's mover, against PostgreSQL's logical replication of the same
rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.laboratory import WARM_UP, Laboratory, Trial, laboratory
from harness.plot import BLUE, ORANGE, bars, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, Table, comparison, every_round, number, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene

ABOUT = "moving 100 of 1024 buckets: row copy and a log of ids, against logical replication; what each costs a writer"
SECONDS = 120
PROGRAM = "move"
SOURCES = ("shard-one", "shard-logical")  # one of them does the work, the other none
TARGET = "shard-two"
SERVICES = ("primary", *SOURCES, TARGET)

READY = Metric("ready", "s until writes are blocked", digits=2)
PAUSE = Metric("pause", "ms of pause", digits=1)
DRAIN = Metric("drain", "ms of it until all rows are there", digits=1)
CPU_SOURCE = Metric("cpu source", "CPU ms source")
CPU_TARGET = Metric("cpu target", "CPU ms target")
MOVE = [READY, PAUSE, DRAIN, CPU_SOURCE, CPU_TARGET, Metric("cpu", "CPU ms in all")]
PARTS = {"drain": ("until all rows are there", BLUE), "compare": ("comparing", ORANGE)}

RATE = Metric("rate", "updates/s", less_is_better=False)
SPENT = Metric("cpu source", "CPU µs source")
WRITE = [
    RATE,
    Metric("p50", "p50 µs"),
    SPENT,
    Metric("cpu", "CPU µs in all"),
]


@dataclass(frozen=True)
class Group:
    """Moves under the same conditions; the first of `names`, by the program's call, is the
    baseline.
    """

    title: str
    names: Mapping[str, str]

    @property
    def baseline(self) -> str:
        """Return the mover's variant."""
        return next(iter(self.names))

    @property
    def other(self) -> str:
        """Return that of logical replication."""
        return list(self.names)[1]

    @property
    def control(self) -> str:
        """Return the name of the A/A control."""
        return f"{self.baseline}, again"

    @property
    def calls(self) -> dict[str, str]:
        """Return what the program is asked for, by variant."""
        return {self.baseline: self.baseline, self.other: self.other, self.control: self.baseline}

    @property
    def all_names(self) -> dict[str, str]:
        """Return the names with the control's."""
        return {**self.names, self.control: f"{self.names[self.baseline]}, again (A/A)"}


QUIET = Group("Nobody writes", {"mover": "mover", "replication": "logical replication"})
WRITTEN = Group(
    "While a writer updates 200 of the rows a second",
    {"mover, written": "mover", "replication, written": "logical replication"},
)
GROUPS = [QUIET, WRITTEN]

PLAIN = "wal_level = replica"
NAMES = {
    "plain": f"{PLAIN}, no move",
    "logged": f"{PLAIN}, the rows are logged",
    "logical": "wal_level = logical, no slot",
    "followed": "wal_level = logical, the rows are followed",
    "beside": "wal_level = logical, other rows are followed",
}
CONTROL = "plain again"
ALL_NAMES = {**NAMES, CONTROL: f"{NAMES['plain']}, again (A/A)"}
# In this order the subscription is made and dropped once a round.
TRIALS = {key: Trial("plain" if key == CONTROL else key) for key in ("plain", "logged", CONTROL, *list(NAMES)[2:])}
FOLLOWING = {"followed", "beside"}


class Following:
    """Whether the target follows the writer's rows."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab, self._on = lab, False

    def set(self, on: bool) -> None:
        """Let it, or not."""
        if on != self._on:
            self._lab.program.call("follow" if on else "back")
            self._on = on


def with_source(found: Measurement) -> Measurement:
    """Add the CPU time of whichever source was at work."""
    source = sum(found[f"cpu {one}"] for one in SOURCES)
    return {**found, "cpu source": source, "cpu target": found[f"cpu {TARGET}"]}


def move(lab: Laboratory, call: str) -> Measurement:
    """Move the buckets, and put them back afterwards. CPU in milliseconds, of the move alone."""
    clocks = {service: container.clock for service, container in lab.containers.items()}
    before = {service: clock.microseconds() for service, clock in clocks.items()}
    found = lab.program.call(call)
    used = {service: (clock.microseconds() - before[service]) / 1000 for service, clock in clocks.items()}
    lab.program.call("back")
    return with_source(
        {
            "ready": found["ready"],
            "pause": found["pause"] * 1000,
            "drain": found["drain"] * 1000,
            "compare": (found["pause"] - found["drain"]) * 1000,
            "written": found["written"],
            "cpu": sum(used.values()),
            **{f"cpu {service}": spent for service, spent in used.items()},
        }
    )


def moves(lab: Laboratory, rounds: int) -> Samples:
    """Measure the moves in turns."""

    def variant(name: str, call: str) -> Variant:
        return Variant(name, lambda: move(lab, call))

    compared = [variant(name, call) for group in GROUPS for name, call in group.calls.items()]
    say("Warming up")
    for name in WRITTEN.names:
        move(lab, name)
    progress = Progress(rounds * len(compared), lambda one: f"{one['ready']:5.2f} s  pause {one['pause']:6.1f} ms")
    return run(compared, rounds, progress, mirrored=False)


def writes(lab: Laboratory, rounds: int, seconds: float) -> Samples:
    """Measure the writer in turns."""
    following = Following(lab)

    def measure(key: str, trial: Trial, seconds: float) -> Measurement:
        following.set(key in FOLLOWING)
        return with_source(lab.measure(trial, seconds))

    def variant(key: str, trial: Trial) -> Variant:
        return Variant(key, lambda: measure(key, trial, seconds))

    say("Warming up")
    for key, trial in TRIALS.items():
        measure(key, trial, WARM_UP)
    progress = Progress(rounds * 2 * len(TRIALS), lambda one: f"{one['rate']:7,.0f}/s  p50 {one['p50']:7,.0f} µs")
    found = run([variant(key, trial) for key, trial in TRIALS.items()], rounds, progress)
    following.set(False)
    return found


def findings(moved: Samples, written: Samples, wal: Mapping[str, float]) -> list[str]:
    """Say what the figures mean."""
    said = []
    for group in GROUPS:
        parts = [
            f"{what} {number(moved.typical(group.other, metric.key).middle, metric.digits)} {unit} by logical"
            f" replication, {number(moved.typical(group.baseline, metric.key).middle, metric.digits)} {unit} by the"
            f" mover, {times(moved.ratio(group.other, group.baseline, metric.key))}"
            for what, metric, unit in (
                ("ready after", READY, "s"),
                ("pause", PAUSE, "ms"),
                ("of it until all rows are there", DRAIN, "ms"),
            )
        ]
        said.append(f"{group.title}: {'; '.join(parts)}.")
    said.append(
        f"Logical replication spends {times(moved.ratio(WRITTEN.other, WRITTEN.baseline, 'cpu'))} the CPU time of the"
        " mover, client and servers together."
    )
    update = {key: times(written.ratio(key, "plain", SPENT.key)) for key in NAMES}
    said.append(
        f"An update costs the source {update['logged']} the CPU time while its row is logged, {update['followed']}"
        f" while it is followed, and {update['beside']} while other rows of the table are, for the source decodes and"
        " filters every change; the log costs such a writer nothing. `wal_level = logical` alone:"
        f" {update['logical']}."
    )
    said.append(
        "Of the updates a second that one writer does without a move are left"
        f" {times(written.ratio('logged', 'plain', 'rate'))} while they are logged,"
        f" {times(written.ratio('followed', 'plain', 'rate'))} while they are followed, and with `wal_level = logical`"
        f" alone {times(written.ratio('logical', 'plain', 'rate'))}."
    )
    said.append(
        f"1,000 updates write {number(wal['plain'] / 1024)} KiB of WAL; {number(wal['logged'] / 1024)} KiB while they"
        f" are logged ({wal['logged'] / wal['plain']:.2f}); with `wal_level = logical`"
        f" {number(wal['logical'] / 1024)} KiB ({wal['logical'] / wal['plain']:.2f}), always and for all rows."
    )
    return said


def draw(moved: Samples, written: Samples, path: Path) -> None:
    """Draw how long a move takes, how long writes wait, and what an update costs meanwhile."""
    with figure(
        path,
        "Moving buckets: row copy and a log of ids, against logical replication",
        "100 of 1024 buckets, a tenth of 300,000 rows, between two servers; a writer updates 200 of them a second",
        height=8.4,
        width=11,
    ) as canvas:
        ready, pause, spent = canvas.subplots(3, 1, height_ratios=[3, 3, 6])
        bars(ready, moved, WRITTEN.all_names, READY)
        bars(pause, moved, WRITTEN.all_names, PAUSE, PARTS)
        bars(spent, written, ALL_NAMES, SPENT)
        spent.set_title("An update by one writer without a pause", fontsize=11, loc="left")


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, turns, seconds = (1, 1, 0.2) if scene.quick else (4, 5, 0.25)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        moved = moves(lab, rounds)
        wal = lab.program.call("wal")
        written = writes(lab, turns, seconds)
    draw(moved, written, scene.plot)
    void = {
        **{group.title: moved.void(group.control, group.baseline, "ready") for group in GROUPS},
        **{f"A writer's {metric.title}": written.void(CONTROL, "plain", metric.key) for metric in (RATE, SPENT)},
    }
    return Report(
        title="Moving buckets: the mover and logical replication",
        question="Which moves 100 buckets sooner, for which do writes wait longer, and what does each cost a writer:"
        " row copy with a log of ids, or PostgreSQL's logical replication?",
        method=[
            f"Moves: {rounds} rounds, the order turned round with every round. Each goes as far as the moment in which"
            " the map could be changed, and is then undone; the 0.6 s until no process has an old map are the same for"
            " both and not in it.",
            "Two sources with the same 300,000 users, about 290 in each of 1024 buckets, and one target without any:"
            " plain PostgreSQL servers in containers, data in memory. `shard-logical` has `wal_level = logical`, the"
            " others `replica`.",
            "*Mover*: `app/scaleout/sharding/moving/` as it is, with its index by bucket, its copy, its log and its two"
            " comparisons. *Logical replication*: the same index, a publication with a row filter on the bucket, a"
            " slot, a subscription with `copy_data` and `synchronous_commit = on` (without it a confirmation waits for"
            " up to `wal_writer_delay`, 0.2 s); ready when the table's state is `r` and the slot has confirmed what was"
            " written.",
            "*Pause*: from the blocking of the buckets until all rows are there (the rest of the log; the slot's"
            " `confirmed_flush_lsn` at the last write) and compared. The mover knows which rows were written after its"
            " first comparison and compares those. Logical replication has no such list: all are compared.",
            f"Writers: {turns} rounds, each once forth and once back over the variants, {seconds} s a measurement; one"
            " connection updates one row by its key again and again, each a commit. Where rows are followed, the target"
            " takes each change in; what the log names is copied later, by the mover, and is in the moves' figures"
            " only.",
            "WAL is counted, not timed: 1,000 updates of the same 1,000 rows for the third time, so that no whole pages"
            " are in it. With checkpoints, whole pages make all of them larger and their ratios smaller.",
            "CPU time is the containers'; with logical replication that of the client is the waiting's, a question"
            " every 2 ms.",
        ],
        findings=findings(moved, written, wal),
        losses=[
            *(
                f"{group.title}: {line}"
                for group in GROUPS
                for baseline in group.names  # each against the other
                for line in worse(moved, group.names, baseline, MOVE)
            ),
            *worse(written, NAMES, "plain", WRITE),
            "The target has no rows of its own here. Logical replication does not look at the fence nor at foreign keys"
            " there: triggers do not fire for what a subscription writes.",
        ],
        tables=[
            *(comparison(moved, group.all_names, group.baseline, MOVE, group.title) for group in GROUPS),
            comparison(written, ALL_NAMES, "plain", WRITE, "One writer without a pause"),
            Table(
                ["", "bytes", "ratio"],
                [
                    [NAMES[key], number(made), "1" if key == "plain" else f"{made / wal['plain']:.2f}"]
                    for key, made in wal.items()
                ],
                "WAL of 1,000 updates",
            ),
        ],
        rounds=[
            *(
                every_round(moved, group.all_names, metric, f"{group.title}: {metric.title}")
                for group in GROUPS
                for metric in (READY, PAUSE)
            ),
            *(every_round(written, ALL_NAMES, metric, f"One writer: {metric.title}") for metric in (RATE, SPENT)),
        ],
        void=[f"{title}: {reason}" for title, reason in void.items() if reason],
    )
