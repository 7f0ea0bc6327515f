"""What the router and the causal check cost a query, with against without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.laboratory import Trial, laboratory
from harness.plot import bars, figure
from harness.report import Metric, Report, comparison, number, target, times, worse
from harness.rounds import Samples
from harness.scene import Scene

ABOUT = "microseconds a query: Django told the alias, against the router with its causal check"
SECONDS = 75
PROGRAM = "router"
SERVICES = ("primary", "standby-1")
MOST = 1.02

P50 = Metric("p50", "median µs", digits=1, ratio_digits=3)
METRICS = [P50, Metric("cpu client", "CPU µs in the client", digits=1, ratio_digits=3)]
# The effect that is looked for is 2 %: a control that is off by half of it, or that uncertain,
# voids the run.
TOLERANCE, WIDEST = 0.01, 0.02


@dataclass(frozen=True)
class Group:
    """Variants that are compared with `baseline`, one of them the A/A control."""

    title: str
    baseline: str
    names: dict[str, str]  # by operation; the control is the baseline's operation, once more

    @property
    def control(self) -> str:
        """Return the name of the A/A control."""
        return f"{self.baseline} again"

    @property
    def all_names(self) -> dict[str, str]:
        """Return the names with the control's."""
        return {**self.names, self.control: f"{self.names[self.baseline]} again (A/A)"}

    @property
    def trials(self) -> dict[str, Trial]:
        """Return what is measured."""
        return {key: Trial(self.baseline if key == self.control else key) for key in self.all_names}


GROUPS = [
    Group(
        "A query by primary key, of the server that the last one asked",
        "query",
        {"query": "told the alias", "query, later": "router, later query of a request"},
    ),
    Group(
        "A query of one of two servers",
        "either",
        {"either": "told one of two aliases, by chance", "query, first": "router, first query, with a position"},
    ),
    Group(
        "A request with that query",
        "request",
        {"request": "told one of two aliases, no middleware", "request, routed": "router, middleware, a position"},
    ),
]
LATER, FIRST, REQUEST = GROUPS


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    said = []
    for key, baseline, what in (
        ("query, later", "query", "A query after a request's first"),
        ("query, first", "either", "The first query of a request that carries a position, which chooses a standby"),
    ):
        ratio = samples.ratio(key, baseline, "p50")
        extra = samples.typical(key, "p50").middle - samples.typical(baseline, "p50").middle
        said.append(f"{what}: {times(ratio, 3)}, {number(extra, 1)} µs more; {target(ratio, most=MOST)}.")
    whole = samples.ratio("request, routed", "request", "p50")
    extra = samples.typical("request, routed", "p50").middle - samples.typical("request", "p50").middle
    said.append(
        f"A whole request with one such query, through the middleware: {times(whole, 3)}, {number(extra, 1)} µs more."
        " This is without HTTP and without a template: of a real page it is a smaller part."
    )
    return said


def draw(samples: Samples, path: Path) -> None:
    """Draw both groups."""
    with figure(
        path,
        "What the router and its causal check cost",
        "median microseconds in one process; a row by its primary key, from a standby in another container",
        height=5.6,
    ) as canvas:
        for axes, group in zip(canvas.subplots(len(GROUPS), 1), GROUPS, strict=True):
            bars(axes, samples, group.all_names, P50)
            axes.set_title(group.title, fontsize=11, loc="left")


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    # Many short rounds: what disturbs a busy machine for a moment then falls on few of them, or on
    # all variants alike.
    rounds, seconds = (20, 0.02) if scene.quick else (200, 0.02)
    with laboratory(scene, PROGRAM, SERVICES) as lab:
        samples = lab.compare(LATER.trials | FIRST.trials | REQUEST.trials, rounds, seconds)
    draw(samples, scene.plot)
    void = [samples.void(group.control, group.baseline, "p50", TOLERANCE, WIDEST) for group in GROUPS]
    return Report(
        title="The router and its causal check: what they cost",
        question="How much longer does a query take when the router chooses its server, than when Django is told the"
        " alias?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, all in"
            " one process and one thread.",
            "The query is a row by its primary key, by the ORM, over a pooled connection to one standby in a"
            " container of its own: the cheapest query there is, so the router's part is at its largest.",
            "*Told the alias*: a manager bound to the alias; *by chance*: one of two managers, since the router, too,"
            " goes to another connection than the last time; no router is asked, no watcher looks at the statement."
            " *Router*: the stack's three routers, its two replica aliases, its watcher. *With a position*: the"
            " caller has written, and the standby has replayed it, as it has for all but the first moments.",
            "The requests go through Django's own handler in the process, with the connection taken from the pool"
            " and given back.",
            f"The effect looked for is {MOST - 1:.0%}, so the control must be closer than in other benches: its"
            f" interval within 1 ± {TOLERANCE:.0%}, and not wider than {WIDEST:.0%}.",
        ],
        findings=findings(samples),
        losses=[line for group in GROUPS for line in worse(samples, group.names, group.baseline, METRICS)],
        tables=[comparison(samples, group.all_names, group.baseline, METRICS, group.title) for group in GROUPS],
        rounds=[],  # 200 of them are nothing to read
        void=[reason for reason in void if reason],
    )
