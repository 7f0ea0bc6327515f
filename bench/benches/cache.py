"""What a look-up costs at each level, against the least that it could cost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError
from harness.machine import check_memory
from harness.plot import BLUE, figure
from harness.progress import Progress, say
from harness.report import Metric, Report, comparison, every_round, number, times, worse
from harness.rounds import Measurement, Samples, Variant, run
from harness.scene import Scene

ABOUT = "microseconds a look-up: the two levels of the cache, and what they are compared with"
SECONDS = 120
TIME = Metric("us", "µs", digits=2)


@dataclass(frozen=True)
class Group:
    """Operations of bench/views/bench_cache.py that are compared with the first of them, which is
    measured twice.
    """

    title: str
    names: dict[str, str]

    @property
    def baseline(self) -> str:
        """Return the operation that the others are compared with."""
        return next(iter(self.names))

    @property
    def control(self) -> str:
        """Return the name of the A/A control."""
        return f"{self.baseline} again"

    @property
    def all_names(self) -> dict[str, str]:
        """Return the names, with the control's."""
        return {**self.names, self.control: f"{self.names[self.baseline]}, again (A/A)"}


MEMORY = Group(
    "In the process",
    {
        "LocMemCache": "Django's LocMemCache",
        "local": "our L1 through Django's cache API",
        "decorator": "a call of a cached function",
        "dict": "a bare dict",
    },
)
REDIS = Group(
    "In Redis",
    {
        "raw GET": "GET over a bare socket",
        "raw MGET": "MGET of 20 keys over a bare socket",
        "L2": "our L2, with its tags",
    },
)
MANY = Group("Several keys", {"1 key": "django-redis, 1 key", "20 keys": "django-redis, 20 keys"})
FRONT = Group(
    "The front page without its foot",
    {
        "front, database": "front page, from the database",
        "front, L2": "front page, from L2",
        "front, L1": "front page, from L1",
    },
)
GROUPS = [MEMORY, REDIS, MANY, FRONT]


class Client:
    """The program in its container."""

    def __init__(self, container: str) -> None:
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", container, "python", "-m", "bench_cache"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, operation: str, seconds: float) -> Measurement:
        """Time one operation for so long."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"run": operation, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            answer = json.loads(line)
            if "us" in answer:  # and no line of the log
                return {"us": float(answer["us"])}
        raise BenchError("the program in the container has ended")

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def client(scene: Scene) -> Iterator[Client]:
    """Start what is needed, and the program."""
    stack = scene.stack("bench/compose.cache.yaml")
    stack.build("postgres-1", "etcd", "redis-cache", "web")
    stack.up("cache-client")
    running = Client(stack.only("cache-client").id)
    try:
        yield running
    finally:
        running.end()


def variants(running: Client, seconds: float) -> list[Variant]:
    """Return the measurements of all groups."""

    def variant(name: str, operation: str) -> Variant:
        return Variant(name, lambda: running.measure(operation, seconds))

    return [
        variant(name, group.baseline if name == group.control else name) for group in GROUPS for name in group.all_names
    ]


def findings(samples: Samples) -> list[str]:
    """Say what the figures mean."""

    def typical(name: str) -> str:
        return number(samples.typical(name, "us").middle, 2)

    return [
        f"L1 through Django's cache API takes {typical('local')} µs, LocMemCache"
        f" {times(samples.ratio('LocMemCache', 'local', 'us'))} that; a bare dict is"
        f" {times(samples.ratio('local', 'dict', 'us'))} as quick.",
        f"A value of L2, which is checked, takes {times(samples.ratio('L2', 'raw GET', 'us'))} a GET of the same bytes"
        " over a bare socket, which checks nothing.",
        f"With django-redis 20 keys take {times(samples.ratio('20 keys', '1 key', 'us'))} the time of one; over a bare"
        f" socket {times(samples.ratio('raw MGET', 'raw GET', 'us'))}.",
        f"The front page takes {typical('front, database')} µs from the database, {typical('front, L2')} from L2,"
        f" {typical('front, L1')} from L1.",
    ]


def draw(samples: Samples, path: Path) -> None:
    """Draw the times, by powers of ten."""
    with figure(path, "What a look-up costs", "median microseconds, powers of ten; one thread", height=5.0) as canvas:
        axes = canvas.subplots()
        names = [(name, title) for group in GROUPS for name, title in group.names.items()]
        axes.barh([title for _, title in names], [samples.typical(name, "us").middle for name, _ in names], color=BLUE)
        axes.set_xscale("log")
        axes.invert_yaxis()


def measure(scene: Scene) -> Report:
    """Run the bench and draw its plot."""
    check_memory()
    rounds, seconds = (2, 0.1) if scene.quick else (24, 0.08)
    with scene.clean(), client(scene) as running:
        compared = variants(running, seconds)
        say("Measuring")
        samples = run(compared, rounds, Progress(rounds * 2 * len(compared), lambda one: f"{one['us']:10.2f} µs"))
    draw(samples, scene.plot)
    reasons = {group.title: samples.void(group.control, group.baseline, "us") for group in GROUPS}
    return Report(
        title="What a look-up costs at each level of the cache",
        question="How long does a cached value take from the process and from Redis, and what is the least that it"
        " could take?",
        method=[
            f"{rounds} rounds, each once forth and once back over the variants, {seconds} s a measurement, in one"
            " thread of one process in the application's image; Redis and PostgreSQL in containers of their own. The"
            " process and Redis share one core, so that a figure is the work of both: with a core for each, or a"
            " network between them, the waiting is longer and the ratios are smaller.",
            "A value of 1,300 characters, text. *Our L2* reads the value, its time to live and its three tags in one"
            " exchange, and compares. *Bare socket*: one `sendall`, and `recv` until the answer is whole, whose length"
            " is known; nothing is parsed.",
            "*From the database*: two queries and a template. The foot, which names the replica, is in none of them.",
        ],
        findings=findings(samples),
        losses=[line for group in GROUPS for line in worse(samples, group.names, group.baseline, [TIME])],
        tables=[comparison(samples, group.all_names, group.baseline, [TIME], group.title) for group in GROUPS],
        rounds=[every_round(samples, group.all_names, TIME, f"{group.title}: µs") for group in GROUPS],
        void=[f"{title}: {reason}" for title, reason in reasons.items() if reason],
    )
