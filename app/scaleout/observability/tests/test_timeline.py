"""The table that `make trace` prints from the logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import TIME_FACTOR

from scaleout.observability import timeline

APP = Path(__file__).resolve().parents[3]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
IDS = {"request_id": "abc-1", "trace_id": TRACE}


def line(container: str, **fields: object) -> str:
    return f"{container}\t{json.dumps({**IDS, **fields})}\n"


def web(container: str, time: str, milliseconds: float, message: str, **fields: object) -> str:
    at = f"2026-11-23T21:00:00.{time}+00:00"
    return line(container, time=at, milliseconds=milliseconds, message=message, **fields)


NGINX = line(
    "nginx-1", time="2026-11-23T21:00:00.100+00:00", method="POST", path="/api/orders/", status=201, request_ms=90
)
HAPROXY = line(
    "haproxy-1", time="2026-11-23T21:00:00.100Z", begin="2026-11-23T21:00:00.010Z", method="POST", path="/api/orders/",
    status=201, request_ms=89, retries=1,
)  # fmt: skip
LOGS = [
    web("worker-1", "140000", 20.0, "products.tasks.handle_order_event SUCCESS", logger="task", level="INFO"),
    web("products-1", "050000", 10.0, "GET /api/products/ 200", logger="access", level="INFO"),
    web("orders-1", "090000", 60.5, "POST /api/orders/ 201", logger="access", level="INFO"),
    line("orders-1", time="2026-11-23T21:00:00.060Z", message="late", logger="x", level="WARNING",
         exception="Traceback\n  x\nValueError: no\n"),
    web("web-2", "098000", 85.0, "POST /api/orders/ 201", logger="access", level="INFO"),
]  # fmt: skip
HEAD = "        ms  container   what"
REST = [
    "       3.0  web-2       POST /api/orders/ 201, 85 ms",
    "      19.5  orders-1    POST /api/orders/ 201, 60.5 ms",
    "      30.0  products-1  GET /api/products/ 200, 10 ms",
    "      50.0  orders-1    WARNING x: late: ValueError: no",
    "     110.0  worker-1    products.tasks.handle_order_event SUCCESS, 20 ms",
]


@pytest.mark.parametrize("identifier", ["abc-1", TRACE])
@pytest.mark.parametrize(
    ("front", "first"),
    [
        (NGINX, "       0.0  nginx-1     POST /api/orders/ 201, 90 ms"),
        (HAPROXY, "       0.0  haproxy-1   POST /api/orders/ 201, 1 more tries, 89 ms"),
    ],
)
def test_the_hops_come_in_the_order_in_which_they_began(identifier: str, front: str, first: str) -> None:
    head = ["request: abc-1", f"trace: {TRACE}", "began: 2026-11-23 21:00:00.010000 UTC", HEAD]
    assert list(timeline.table(timeline.read(identifier, [*LOGS, front]))) == [*head, first, *REST]


def test_lines_of_others_and_what_is_no_line_are_left_out() -> None:
    others = [
        "web-1\tabc-1 is no JSON\n", "web-1\t[1]\n", "web-1\t{\n", "abc-1\n", "\n", "web-1\t" + "[" * 100_000 + "\n",
        "web-1\t" + json.dumps({"message": "abc-1", "request_id": "other", "time": "2026-01-01"}) + "\n",
        "web-1\t" + json.dumps({"request_id": ["abc-1"], "time": "2026-01-01"}) + "\n",
        line("web-1"), line("web-1", time="yesterday"), line("web-1", time=None), line("web-1", time=7),
    ]  # fmt: skip
    assert timeline.read("abc-1", others) == []


def test_nonsense_for_a_duration_is_none() -> None:
    for value in (None, "x", -1, 1e300, float("nan"), float("inf"), [1]):
        (step,) = timeline.read("abc-1", [line("web-1", time="2026-11-23T21:00:00", milliseconds=value, message="m")])
        assert step.milliseconds == 0


def test_what_a_terminal_would_obey_is_only_shown() -> None:
    hostile = web("web-1", "000000", 1.0, "GET /\x1b]0;x\x07\u202e\n\x9b2J", level="\x1b[0m", logger="\x1b[0m")
    shown = "\n".join(timeline.table(timeline.read("abc-1", [hostile]))).replace("\n", "")
    assert shown.isprintable()
    assert r"\x1b]0;x\x07\u202e\n\x9b2J" in shown


def test_an_endless_path_is_cut() -> None:
    (step,) = timeline.read("abc-1", [web("web-1", "000000", 1.0, "x" * 10_000)])
    assert max(map(len, timeline.table([step]))) < 300


def run(identifier: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "scaleout.observability.timeline", identifier, "at all"]
    return subprocess.run(command, cwd=APP, input=text, capture_output=True, check=False, timeout=30 * TIME_FACTOR)


def test_as_a_command_it_prints_the_table_whatever_bytes_are_between() -> None:
    done = run("abc-1", b"web-1\t\xff\xfe\n" + NGINX.encode() + b"web-1\t\x00\n")
    assert done.returncode == 0, done.stderr
    assert b"nginx-1  POST /api/orders/ 201, 90 ms" in done.stdout


def test_where_there_is_nothing_it_says_so_and_fails() -> None:
    done = run("-x.y", b"")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: no container has logged -x.y at all\n"
