"""What a load balancer in front of a replica costs, with and without connections kept to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.idle import Idle, at_rest
from harness.load import Load
from harness.machine import check_memory
from harness.plot import BLUE, INK, ORANGE, QUIET, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene, changed_copy
from harness.stack import Container

ABOUT = "CPU a request and requests a second: a replica directly, and through each load balancer"
SECONDS = 225

CONNECTIONS = 16
PATH = "/health/live"

BALANCERS = {
    "nginx": "nginx",
    "nginx-close": "nginx, keepalive off",
    "haproxy": "HAProxy",
    "haproxy-close": "HAProxy, keepalive off",
}
NAMES = {"direct": "direct", **BALANCERS}
CONTROL = "direct again (A/A)"
PAGE = "direct, a real page"

# File, and what is said there in place of what, to close each connection to the replica after its
# answer.
CHANGES = (
    ("nginx/forward.conf", 'proxy_set_header Connection "";', "proxy_set_header Connection close;"),
    ("haproxy/haproxy.cfg", "\ndefaults\n", "\ndefaults\n    option http-server-close\n"),
)

CPU = Metric("cpu", "CPU µs/request")
METRICS = [
    CPU,
    Metric("rate", "requests/s", less_is_better=False),
    Metric("p50", "p50 ms", digits=2),
    Metric("p99", "p99 ms", digits=1),
]


def start(scene: Scene) -> Mapping[str, Container]:
    """Start one replica and four load balancers, two of them told to close each connection to
    it.
    """
    for source, old, new in CHANGES:
        changed_copy(scene, source, old, new)
    stack = scene.stack("bench/compose.proxy.yaml", WEB_REPLICAS="1")
    stack.build("postgres-1", "etcd", "redis-cache", "web", "nginx", "haproxy")
    stack.up("load", "web", *BALANCERS)
    return {service: found[0] for service, found in stack.containers().items()}


def variants(containers: Mapping[str, Container], idle: Idle, seconds: int) -> list[Variant]:
    """Return the measurements: each watches the replica and the load balancer that is on the
    way.
    """
    load, web = containers["load"], containers["web"]

    def measure(target: Container, port: int, path: str, *watched: Container) -> Callable[[], Measurement]:
        return lambda: Load(load, target, port, path, CONNECTIONS, seconds, idle).run(watched)

    return [
        Variant("direct", measure(web, 8000, PATH, web)),
        *(Variant(name, measure(containers[name], 8080, PATH, web, containers[name])) for name in BALANCERS),
        Variant(PAGE, measure(web, 8000, "/", web)),
        Variant(CONTROL, measure(web, 8000, PATH, web)),
    ]


def own_cost(samples: Samples, name: str) -> float:
    """Return the CPU microseconds a request that the load balancer itself takes."""
    return samples.typical(name, f"cpu {name}").middle


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""
    page = samples.typical(PAGE, "cpu").middle
    said = []
    for name in ("nginx", "haproxy"):
        ratio = samples.ratio(name, "direct", "cpu")
        kept = samples.ratio(f"{name}-close", name, "cpu")
        rate = samples.ratio(name, f"{name}-close", "rate")
        cost = own_cost(samples, name)
        said += [
            f"{NAMES[name]} takes {number(cost)} µs of CPU a request itself; with the replica's part the"
            f" request costs {times(ratio)} what it costs directly. The whole storefront page costs the"
            f" replica {number(page)} µs, so in front of that page it is {cost / page:.1%}.",
            f"Keepalive from {NAMES[name]} to the replica: without it a request costs {times(kept)} the CPU;"
            f" with it there are {times(rate)} the requests a second.",
        ]
    return said


def draw(samples: Samples, path: Path) -> None:
    """Draw each variant's CPU time as a bar, the replica's part and the load balancer's."""
    with figure(
        path,
        "What a load balancer in front of a replica costs",
        f"CPU microseconds a request, median of the rounds; GET {PATH}, {CONNECTIONS} connections",
        height=4.9,
    ) as canvas:
        axes = canvas.subplots()
        axes.grid(visible=False, axis="y")
        for row, name in enumerate(NAMES):
            web = samples.typical(name, "cpu web").middle
            own = own_cost(samples, name) if name in BALANCERS else 0
            axes.barh(row, web, color=BLUE, height=0.62, label="the replica" if row == 0 else None)
            axes.barh(row, own, left=web, color=ORANGE, height=0.62, label="the load balancer" if row == 1 else None)
            total = samples.typical(name, "cpu")
            axes.plot([total.low, total.high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
            text = f"{number(total.middle)} µs"
            if name != "direct":
                text += f"   {times(samples.ratio(name, 'direct', 'cpu'))}"
            axes.text(max(total.high, total.middle) * 1.015, row, text, va="center")
        axes.set_yticks(range(len(NAMES)), NAMES.values())
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(samples.typical(name, "cpu").high for name in NAMES) * 1.42)
        axes.set_xlabel("CPU µs a request  (black line: 95 % interval)")
        axes.spines["left"].set_color(QUIET)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 1) if scene.quick else (7, 1)
    with scene.clean():
        containers = start(scene)
        say("Measuring what the containers use at rest")
        idle = at_rest(containers[name] for name in ("web", *BALANCERS))
        compared = variants(containers, idle, seconds)
        say("Warming up")
        for variant in compared:
            variant.measure()
        progress = Progress(
            rounds * 2 * len(compared), lambda one: f"{one['cpu']:6.0f} µs CPU  {one['rate']:6.0f} requests/s"
        )
        samples = run(compared, rounds, progress)
    draw(samples, scene.plot)
    void = samples.void(CONTROL, "direct", "cpu")
    return Report(
        title="A load balancer in front: what it costs",
        question="How much CPU time and how many requests a second does a request through nginx or HAProxy"
        " cost, against the same request to the same replica directly?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement.",
            f"`wrk` with {CONNECTIONS} kept connections, in a container on the network of the replicas,"
            f" for every variant alike. GET `{PATH}`: the cheapest answer there is, so the load balancer's"
            " share is at its largest.",
            "One replica with the stack's own settings. The configuration is the stack's own; *keepalive"
            " off* is the same with `Connection: close` (nginx) or `option http-server-close` (HAProxy)"
            " towards the replica.",
            "The load generator shares the machine's cores with what it measures. That lowers every variant's"
            " requests a second, and hardly touches the CPU time a request.",
            "CPU µs/request is less what the containers use at rest, measured before: the replica"
            f" {idle.share(containers['web']):.1%} of a core (asked for its health by four load balancers),"
            f" nginx {idle.share(containers['nginx']):.1%}, HAProxy {idle.share(containers['haproxy']):.1%}.",
        ],
        findings=findings(samples),
        losses=worse(samples, NAMES, "direct", METRICS),
        tables=[comparison(samples, {**NAMES, CONTROL: CONTROL, PAGE: PAGE}, "direct", METRICS)],
        rounds=[every_round(samples, {**NAMES, CONTROL: CONTROL, PAGE: PAGE}, CPU, "CPU µs a request")],
        void=[void] if void else [],
    )
