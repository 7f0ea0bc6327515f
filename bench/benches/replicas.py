"""What a second and a third replica gain: for a view that waits, and for one that computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.engine import docker
from harness.idle import Idle, at_rest
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, GREEN, INK, QUIET, RED, figure
from harness.progress import Progress, say
from harness.report import TIMES, Metric, Report, comparison, every_round, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene
from harness.stack import Container

ABOUT = "requests a second through 1, 2 and 3 replicas: a view that waits 20 ms, and one that computes"
SECONDS = 235

CONNECTIONS = 32  # more than three replicas work on at once: 2 processes of 4 threads each
SHARE = 0.4  # of a core, for each replica, where the machine shall not be the limit
RATE = Metric("rate", "requests/s", less_is_better=False)
METRICS = [
    RATE,
    Metric("p50", "p50 ms", digits=1),
    Metric("p99", "p99 ms", digits=1),
    Metric("cpu", "CPU µs/request"),
]
# One load balancer for each count; each knows its replicas by a network alias
# (compose.replicas.yaml).
BALANCERS = {1: "nginx-one", 2: "nginx-two", 3: "nginx-three"}
REPLICAS = {1: ["replica-1"], 2: ["replica-1", "replica-2"], 3: ["replica-1", "replica-2", "replica-3"]}


@dataclass(frozen=True)
class Group:
    """One view under one limit, measured through 1, 2 and 3 replicas."""

    key: str
    title: str
    path: str
    share: float | None
    colour: str

    def name(self, count: int) -> str:
        """Return the variant's name."""
        return f"{self.key}, {count}"

    @property
    def control(self) -> str:
        """Return the name of the A/A control: one replica, once more."""
        return f"{self.key}, 1 again"

    @property
    def names(self) -> dict[str, str]:
        """Return the variants' names and how the table calls them."""
        named = {self.name(count): f"{count} replica{'s' if count > 1 else ''}" for count in BALANCERS}
        return {**named, self.control: "1 replica again (A/A)"}


GROUPS = [
    Group("waits 20 ms", "A view that waits 20 ms", "/wait/", None, BLUE),
    Group("computes", "A view that computes, no limit", "/compute/", None, RED),
    Group("computes, limited", f"A view that computes, {SHARE} of a core each", "/compute/", SHARE, GREEN),
]


@dataclass
class Cluster:
    """Three replicas and the three load balancers in front of one, two and three of them."""

    containers: Mapping[str, Container]
    seconds: int
    idle: Idle
    _share: float | None = field(default=-1, init=False)

    def variants(self, group: Group) -> list[Variant]:
        """Return the group's measurements, with its A/A control."""
        counted = [Variant(group.name(count), self._measure(group, count)) for count in BALANCERS]
        return [*counted, Variant(group.control, self._measure(group, 1))]

    def _measure(self, group: Group, count: int) -> Callable[[], Measurement]:
        balancer = self.containers[BALANCERS[count]]
        watched = [balancer, *(self.containers[name] for name in REPLICAS[count])]
        load = Load(self.containers["load"], balancer, 8080, group.path, CONNECTIONS, self.seconds, self.idle)

        def measure() -> Measurement:
            self._limit(group.share)
            return load.run(watched)

        return measure

    def _limit(self, share: float | None) -> None:
        """Give each replica this share of a core; None is as many as the machine has."""
        if share != self._share:
            ids = [self.containers[name].id for name in REPLICAS[3]]
            docker(["update", "--cpus", str(share or os.cpu_count()), *ids])
            self._share = share


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    said = []
    for group in GROUPS:
        two, three = (samples.ratio(group.name(count), group.name(1), "rate") for count in (2, 3))
        said.append(f"{group.title}: 2 replicas serve {times(two)}, 3 serve {times(three)} the requests of one.")
    return said


def losses(samples: Samples) -> list[str]:
    """Say where more replicas did not bring as many times the requests, and why that is so."""
    found = []
    for group in GROUPS:
        three = samples.ratio(group.name(3), group.name(1), "rate")
        if three.high < 2.85:
            found.append(f"{group.title}: 3 replicas bring {times(three)}, not 3{TIMES}.")
        counted = {key: name for key, name in group.names.items() if key != group.control}
        found += [f"{group.title}: {line}" for line in worse(samples, counted, group.name(1), METRICS[1:])]
    return [
        *found,
        f"This machine has {os.cpu_count()} cores, and one replica with its 2 processes can keep two busy."
        " More replicas add no cores: a view that computes gains from them only where each is held to a"
        " share of the machine, as it is when replicas run on machines of their own.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw, for each group, requests a second over the number of replicas."""
    with figure(
        path,
        "What more replicas gain",
        f"requests a second through nginx, {CONNECTIONS} connections, {os.cpu_count()} cores; dashed: as"
        " many times one replica's",
        height=4.8,
    ) as canvas:
        for axes, group in zip(canvas.subplots(1, len(GROUPS)), GROUPS, strict=True):
            counts = list(BALANCERS)
            rates = [samples.typical(group.name(count), "rate") for count in counts]
            axes.grid(visible=False, axis="x")
            axes.bar(counts, [rate.middle for rate in rates], color=group.colour, width=0.62)
            axes.plot(counts, [rates[0].middle * count for count in counts], color=QUIET, linestyle="--")
            for count, rate in zip(counts, rates, strict=True):
                axes.plot([count, count], [rate.low, rate.high], color=INK, linewidth=1.6)
                text = f"{rate.middle:,.0f}"
                if count > 1:
                    text += f"\n{samples.ratio(group.name(count), group.name(1), 'rate').middle:.2f}{TIMES}"
                place = {"xytext": (0, -7), "textcoords": "offset points", "ha": "center", "va": "top"}
                axes.annotate(text, (count, rate.low), color="white", fontweight="bold", fontsize=10, **place)
            axes.set_title(group.title.replace(" that ", " that\n", 1), fontsize=11, pad=12)
            axes.set_xticks(counts, [f"{count}" for count in counts])
            axes.tick_params(axis="x", length=0)
            axes.set_xlabel("replicas")
            axes.set_ylim(0, max(rates[0].middle * 3, *(rate.high for rate in rates)) * 1.15)
        canvas.axes[0].set_ylabel("requests a second")


def start(scene: Scene) -> Mapping[str, Container]:
    """Start the replicas with the bench's own views, and a load balancer for each count."""
    stack = scene.stack("bench/compose.replicas.yaml")
    stack.build("postgres-1", "etcd", "redis-cache", "web", "nginx")
    stack.up("load", *REPLICAS[3], *BALANCERS.values())
    return {service: found[0] for service, found in stack.containers().items()}


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 1) if scene.quick else (4, 1)
    with scene.clean():
        containers = start(scene)
        say("Measuring what the containers use at rest")
        cluster = Cluster(containers, seconds, at_rest(containers.values()))
        compared = [variant for group in GROUPS for variant in cluster.variants(group)]
        say("Warming up")
        for variant in compared[:: len(BALANCERS) + 1]:
            variant.measure()
        progress = Progress(
            rounds * 2 * len(compared), lambda one: f"{one['rate']:6.0f} requests/s  p99 {one['p99']:5.0f} ms"
        )
        samples = run(compared, rounds, progress)
    draw(samples, scene.plot)
    return Report(
        title="What more replicas gain",
        question="How many requests a second go through 1, 2 and 3 replicas, for a view that waits 20 ms"
        " and for one that computes?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"`wrk` with {CONNECTIONS} kept connections through nginx (least connections). All three"
            " replicas run all the time; one nginx each stands in front of one, two and three of them.",
            "Each replica has the stack's own settings: 2 processes, 4 threads each. So one works on 8"
            " requests at once, and a view that only waits 20 ms can be served at most 400 times a second"
            " by it.",
            "The views are the bench's own (bench/views/): they touch no database. All of the stack's"
            " middleware is on the way.",
            f"Limited: `docker update --cpus {SHARE}` on each replica, so that what more replicas gain is"
            " seen where the machine itself would be the limit.",
            "The load generator and nginx share the machine's cores with the replicas.",
        ],
        findings=findings(samples),
        losses=losses(samples),
        tables=[comparison(samples, group.names, group.name(1), METRICS, group.title) for group in GROUPS],
        rounds=[every_round(samples, group.names, RATE, f"{group.title}: requests a second") for group in GROUPS],
        void=void_groups(samples, GROUPS),
    )


def void_groups(samples: Samples, groups: Sequence[Group]) -> list[str]:
    """Return why the run is void, for each group whose control says so."""
    reasons = {group.title: samples.void(group.control, group.name(1), "rate") for group in groups}
    return [f"{title}: {reason}" for title, reason in reasons.items() if reason]
