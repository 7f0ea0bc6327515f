"""What more PostgreSQL servers gain: reads by replicas, writes by shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.engine import docker
from harness.laboratory import Laboratory, Trial, laboratory
from harness.plot import BLUE, GREEN, INK, ORANGE, QUIET, RED, figure
from harness.progress import Progress, say
from harness.report import TIMES, Metric, Report, comparison, every_round, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene

ABOUT = "reads a second from 1 and 2 replicas, writes a second to 1, 2 and 3 shards"
SECONDS = 175
PROGRAM = "servers"
SERVICES = ("primary", "standby-1", "standby-2", "shard-one", "shard-two", "shard-three")

PROCESSES, THREADS = 2, 8
SHARE = 0.1  # of a core for each server, where the machine shall not be the limit
PERIOD = 20_000  # microseconds: the kernel's 100,000 would make a server stand still for 90 ms at a time
RATE = Metric("rate", "operations/s", less_is_better=False)
METRICS = [RATE, Metric("p50", "p50 µs"), Metric("p99", "p99 µs"), Metric("cpu", "CPU µs")]


@dataclass(frozen=True)
class Group:
    """Reads or writes under one limit, with more and more servers. `counts`: label by operation,
    the baseline" " first.
    """

    key: str
    title: str
    counts: dict[str, str]
    share: float | None
    colour: str

    def name(self, operation: str) -> str:
        """Return the variant's name."""
        return f"{self.key}{operation}"

    @property
    def operations(self) -> list[str]:
        """Return the operations, the baseline first."""
        return list(self.counts)

    @property
    def baseline(self) -> str:
        """Return the variant that the others are compared with."""
        return self.name(self.operations[0])

    @property
    def control(self) -> str:
        """Return the name of the A/A control."""
        return f"{self.baseline} again"

    @property
    def names(self) -> dict[str, str]:
        """Return the variants' names and how the table calls them, the control last."""
        named = {self.name(operation): label for operation, label in self.counts.items()}
        return {**named, self.control: f"{self.counts[self.operations[0]]} again (A/A)"}


READS = {"reads, 1": "1 replica", "reads, 2": "2 replicas", "reads, 0": "the primary alone"}
WRITES = {"writes, 1": "1 shard", "writes, 2": "2 shards", "writes, 3": "3 shards"}
GROUPS = [
    Group("", "Reads, no limit", READS, None, BLUE),
    Group("", "Writes, no limit", WRITES, None, RED),
    Group("limited ", f"Reads, {SHARE} of a core each", READS, SHARE, GREEN),
    Group("limited ", f"Writes, {SHARE} of a core each", WRITES, SHARE, ORANGE),
]


class Limit:
    """The part of a core that each server may use."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._share: float | None = -1

    def set(self, share: float | None) -> None:
        """Set it; None is as much as the machine has."""
        if share != self._share:
            quota = int(PERIOD * (share or os.cpu_count() or 1))
            docker(["update", "--cpu-period", str(PERIOD), "--cpu-quota", str(quota), *self._ids])
            self._share = share


def variants(lab: Laboratory, limit: Limit, seconds: float) -> list[Variant]:
    """Return all measurements; those with one limit together, for a change of it takes a moment."""

    def variant(name: str, operation: str, share: float | None) -> Variant:
        def measure() -> Measurement:
            limit.set(share)
            return lab.measure(Trial(operation, PROCESSES, THREADS), seconds)

        return Variant(name, measure)

    return [
        variant(name, operation, group.share)
        for group in GROUPS
        for name, operation in zip(group.names, [*group.operations, group.operations[0]], strict=True)
    ]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    return [
        f"{group.title}: "
        + ", ".join(
            f"{label} {times(samples.ratio(group.name(operation), group.baseline, 'rate'))}"
            for operation, label in list(group.counts.items())[1:]
        )
        + f" those of {group.counts[group.operations[0]]}."
        for group in GROUPS
    ]


def losses(samples: Samples) -> list[str]:
    """Say where more servers did not bring as many times as much, and why."""
    found = []
    for group in GROUPS:
        for count, operation in enumerate(group.operations, start=1):
            ratio = samples.ratio(group.name(operation), group.baseline, "rate")
            if operation != "reads, 0" and ratio.high < 0.95 * count:
                found.append(f"{group.title}: {group.counts[operation]} bring {times(ratio)}, not {count}{TIMES}.")
        counted = {key: name for key, name in group.names.items() if key != group.control}
        found += [f"{group.title}: {line}" for line in worse(samples, counted, group.baseline, METRICS)]
    return [
        *found,
        f"This machine has {os.cpu_count()} cores, and the client alone keeps most of them busy. More servers add no"
        " cores here: they gain where each is held to a share of the machine, as it is when it runs on a machine of"
        " its own.",
        "A replica adds reads, never writes: each of them replays every write.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw each group's rate over the number of servers."""
    with figure(
        path,
        "What more PostgreSQL servers gain",
        f"operations a second, {PROCESSES * THREADS} callers, {os.cpu_count()} cores; dashed: as many times one"
        " server's",
        height=4.8,
        width=12,
    ) as canvas:
        for axes, group in zip(canvas.subplots(1, len(GROUPS)), GROUPS, strict=True):
            shown = [operation for operation in group.operations if operation != "reads, 0"]
            rates = [samples.typical(group.name(operation), "rate") for operation in shown]
            counts = range(1, len(shown) + 1)
            axes.grid(visible=False, axis="x")
            axes.bar(counts, [rate.middle for rate in rates], color=group.colour, width=0.62)
            axes.plot(counts, [rates[0].middle * count for count in counts], color=QUIET, linestyle="--")
            for count, operation, rate in zip(counts, shown, rates, strict=True):
                axes.plot([count, count], [rate.low, rate.high], color=INK, linewidth=1.6)
                text = f"{rate.middle:,.0f}"
                if count > 1:
                    ratio = samples.ratio(group.name(operation), group.baseline, "rate")
                    text += f"\n{ratio.middle:.2f}{TIMES}"
                place = {"xytext": (0, -7), "textcoords": "offset points", "ha": "center", "va": "top"}
                axes.annotate(text, (count, rate.low), color="white", fontweight="bold", fontsize=9.5, **place)
            axes.set_title(group.title.replace(", ", ",\n", 1), fontsize=11, pad=12)
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.tick_params(axis="x", length=0)
            axes.set_xlabel("replicas" if shown[0].startswith("reads") else "shards")
            axes.set_ylim(0, max(rates[0].middle * len(shown), *(rate.high for rate in rates)) * 1.15)
        canvas.axes[0].set_ylabel("operations a second")


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    rounds, seconds = (2, 0.5) if scene.quick else (5, 0.8)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        compared = variants(lab, Limit([lab.containers[name].id for name in SERVICES]), seconds)
        say("Warming up")
        for variant in compared[: len(compared) // 2]:
            variant.measure()
        progress = Progress(rounds * 2 * len(compared), lambda one: f"{one['rate']:7,.0f}/s  p50 {one['p50']:7,.0f} µs")
        samples = run(compared, rounds, progress)
    draw(samples, scene.plot)
    reasons = {group.title: samples.void(group.control, group.baseline, "rate") for group in GROUPS}
    return Report(
        title="What more PostgreSQL servers gain",
        question="How many reads a second do 1 and 2 replicas serve, and how many writes a second 1, 2 and 3 shards?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement;"
            f" {PROCESSES} processes with {THREADS} threads each, in one container, each thread asking again at"
            " once.",
            "A read is a row by its primary key, chosen by the router as in a request of its own. A write is a"
            " user: an id from a random bucket of the shards in question, then an insert through the fence, each"
            " committed by itself.",
            "A primary with two streaming standbys, and three shards, each a server in a container of its own with"
            " the same settings, all running all the time. Their data are in memory, so that they share no disk. No"
            " standby is waited for.",
            f"Limited: each server gets {SHARE} of a core (`docker update --cpu-quota`). On one machine that is the"
            " only fair way to see what servers on machines of their own would gain: without it all share the same"
            " cores, with each other and with the client, and one server already has what there is.",
        ],
        findings=findings(samples),
        losses=losses(samples),
        tables=[comparison(samples, group.names, group.baseline, METRICS, group.title) for group in GROUPS],
        rounds=[every_round(samples, group.names, RATE, f"{group.title}: operations a second") for group in GROUPS],
        void=[f"{title}: {reason}" for title, reason in reasons.items() if reason],
    )
