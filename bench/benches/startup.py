"""How long the whole stack takes to come up, against one bare PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from harness.engine import docker
from harness.machine import check_memory
from harness.plot import BLUE, GREEN, ORANGE, PURPLE, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import WHOLE, Scene
from harness.stack import Stack
from harness.timeline import Span, middle_spans, spans

ABOUT = "seconds from nothing to healthy: docker compose up --wait against one bare PostgreSQL"
SECONDS = 230

STACK, BARE, CONTROL = "stack", "bare", "bare again"
NAMES = {BARE: "one bare PostgreSQL", STACK: "the whole stack", CONTROL: "one bare PostgreSQL again (A/A)"}
WALL = Metric("seconds", "seconds", digits=2)

# The same image and the same memory; initdb as Patroni is told to do it, then the server, on a new
# volume.
SERVE = (
    "initdb --pgdata /var/lib/postgresql/data --data-checksums --encoding UTF8 --auth trust >/tmp/initdb"
    " && exec postgres -D /var/lib/postgresql/data -k /run/postgresql"
)
# Ready is the first connection that is taken; asked every 20 ms.
READY = "until pg_isready --quiet --host /run/postgresql; do sleep 0.02; done"
GROUPS = {
    PURPLE: ("redis-exporter", "nginx", "haproxy", "prometheus"),
    BLUE: ("etcd", "postgres", "shard", "redis"),
    ORANGE: ("migrate",),
    GREEN: ("web", "users", "products", "orders", "worker", "beat"),
}
LEGEND = {BLUE: "data", ORANGE: "migrations, catalogue", GREEN: "application", PURPLE: "in front, monitoring"}


class Starts:
    """Starts things and keeps what each start of the stack was made of."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.timelines: list[list[Span]] = []

    def whole(self) -> Measurement:
        """Return the seconds of `docker compose up --wait` with empty volumes."""
        begun, clock = time.time(), time.monotonic()
        with self._stack.events(begun) as events:
            self._stack.up()
            taken = time.monotonic() - clock
        self.timelines.append(spans(events, begun))
        self._stack.down()
        return {"seconds": taken}

    def bare(self) -> Measurement:
        """Return the seconds from `docker run` to the first connection that PostgreSQL takes."""
        name = f"{self._stack.project}-bare"
        image = f"{self._stack.project}-postgres"
        clock = time.monotonic()
        docker(
            [
                *("run", "--detach", "--rm", "--init", "--name", name, "--network", "none"),
                *("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run/postgresql:mode=1777"),  # noqa: S108 - the container's
                *("--volume", f"{name}:/var/lib/postgresql", "--memory", "1g", "--shm-size", "128m"),
                *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
                *("--entrypoint", "bash", image, "-c", SERVE),
            ]
        )
        try:
            docker(["exec", name, "timeout", "60", "bash", "-c", READY], timeout=70)
            return {"seconds": time.monotonic() - clock}
        finally:
            docker(["rm", "--force", "--volumes", name])
            docker(["volume", "rm", "--force", name])


def findings(samples: Samples, timeline: Sequence[Span]) -> list[str]:
    """Say what the figures mean."""
    whole, bare = samples.typical(STACK, "seconds"), samples.typical(BARE, "seconds")
    healthy = {span.name: span.end for span in timeline}
    data = max(end for name, end in healthy.items() if name.startswith(("postgres", "shard", "etcd", "redis")))
    web = max(end for name, end in healthy.items() if name.startswith("web"))
    return [
        f"The whole stack, {len(timeline)} containers, is healthy after {whole.middle:.1f} s"
        f" ({whole.low:.1f} to {whole.high:.1f} over the rounds).",
        f"One bare PostgreSQL takes its first connection after {bare.middle:.2f} s: the stack takes"
        f" {times(samples.ratio(STACK, BARE, 'seconds'))} as long.",
        f"Where it goes: every database and Redis healthy after {number(data, 1)} s, migrations and catalogue"
        f" done after {number(healthy['migrate'], 1)} s, all replicas healthy after {number(web, 1)} s.",
    ]


def colour(service: str) -> str:
    """Return the colour of a service's bar."""
    return next((shade for shade, starts in GROUPS.items() if service.startswith(starts)), PURPLE)


def draw(samples: Samples, timeline: Sequence[Span], path: Path) -> None:
    """Draw the typical start as a chart of what was started when and healthy when."""
    whole, bare = samples.typical(STACK, "seconds"), samples.typical(BARE, "seconds")
    with figure(
        path,
        f"From nothing to healthy in {whole.middle:.0f} seconds",
        "docker compose up --wait, images present, volumes empty; each bar from a container's start until"
        " it is healthy",
        height=1.6 + 0.3 * (len(timeline) + 1),
    ) as canvas:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="y")
        axes.barh(0, bare.middle, color="#7b8794", height=0.66)
        axes.text(bare.middle + whole.middle * 0.008, 0, f"{bare.middle:.1f} s", va="center", fontsize=9.5)
        for row, span in enumerate(timeline, start=1):
            axes.barh(row, span.end - span.start, left=span.start, color=colour(span.service), height=0.66)
            axes.text(span.end + whole.middle * 0.008, row, f"{span.end:.1f} s", va="center", fontsize=9.5)
        axes.set_yticks(range(len(timeline) + 1), ["one bare PostgreSQL", *(span.name for span in timeline)])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, max(span.end for span in timeline) * 1.08)
        axes.set_xlabel("seconds since the command")
        for shade, meaning in LEGEND.items():
            axes.barh(0, 0, color=shade, label=meaning)
        axes.legend(loc="upper right")


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds = 1 if scene.quick else 4
    with scene.clean():
        stack = Stack([WHOLE], {"COMPOSE_PROFILES": "nginx"})
        stack.build()
        starts = Starts(stack)
        compared = [
            Variant(BARE, starts.bare),
            Variant(STACK, starts.whole),
            Variant(CONTROL, starts.bare),
        ]
        say("Warming up")
        starts.bare()
        progress = Progress(rounds * len(compared), lambda one: f"{one['seconds']:6.2f} s")
        samples = run(compared, rounds, progress, mirrored=False)
    timeline = middle_spans(starts.timelines)
    draw(samples, timeline, scene.plot)
    void = samples.void(CONTROL, BARE, "seconds")
    return Report(
        title="From nothing to healthy",
        question="How long does `docker compose up --wait` take with images present and empty volumes,"
        " against `initdb` to ready of one bare PostgreSQL?",
        method=[
            f"Starts of the stack: {rounds}, each between two of the bare PostgreSQL. The order is"
            " turned round each time.",
            "The stack: a project of its own with every service of `LB=nginx`, from the command to its"
            " end: all healthchecks good, every database migrated, the demo catalogue loaded. Building is"
            " not in it.",
            "The bare PostgreSQL: the same image and memory, a new volume, `initdb` with checksums, then the"
            " server; ready is the first connection taken, asked every 20 ms.",
            "The files of both are in the page cache: it is not the first start after a boot.",
            "With so few starts the intervals are close to the smallest and the largest seen. The A/A control"
            " guards the bare starts only; of the stack every round is shown.",
        ],
        findings=findings(samples, timeline),
        losses=[
            f"The stack takes {times(samples.ratio(STACK, BARE, 'seconds'))} as long as the database alone:"
            " replicas are copied from a primary, and migrations wait for all of them."
        ],
        tables=[comparison(samples, NAMES, BARE, [WALL])],
        rounds=[every_round(samples, NAMES, WALL, "Seconds")],
        void=[void] if void else [],
    )
