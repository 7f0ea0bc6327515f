"""One id per request, in the logs of load balancer, gateway, services and workers."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.client import Site
from support.services import Person, Services
from support.settings import ROOT, TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

# Where an order comes by, in the order in which it begins there; the front is the load balancer
# that runs.
WAY = [
    ("front", "POST /api/orders/"),
    ("web", "POST /api/orders/"),
    ("orders", "POST /api/orders/"),
    ("products", "GET /api/products/"),
    ("worker", "products.tasks.handle_order_event"),
    ("orders-worker", "orders.tasks.handle_stock_event"),
]
BAD_PARENTS = [
    "", "00", "00-{trace}-{span}", "00-{trace}-{span}-1", "00-{trace}-{span}-01-more", "ff-{trace}-{span}-01",
    "00-{zeros}-00f067aa0ba902b7-01", "00-{trace}-0000000000000000-01", "00-{TRACE}-{span}-01",
    "00-{trace}-{span}-01, 00-{trace}-{span}-01", "cc-{trace}-{span}-01.more", "00-{trace}-{span}-0g",
]  # fmt: skip

type Line = dict[str, Any]


def fresh() -> tuple[str, str, str]:
    """Return an id for a request, one for its trace and one for the caller's span."""
    return f"tests.{secrets.token_hex(8)}_-", secrets.token_hex(16), secrets.token_hex(8)


def lines(stack: Stack, identifier: str, *services: str) -> list[tuple[str, Line]]:
    """Return the log lines of the request or trace, each with the service that wrote it."""
    found = []
    for text in stack.logs(*services, tail=2000).splitlines():
        name, _, line = text.partition(" | ")
        if identifier in line and line.startswith("{"):
            found.append((name.rpartition("-")[0], json.loads(line)))
    return [one for one in found if identifier in (one[1].get("request_id"), one[1].get("trace_id"))]


def said(line: Line) -> str:
    return str(line.get("message") or f"{line['method']} {line['path']}")


def began(line: Line) -> datetime:
    """Return the start of the logged span."""
    if "begin" in line:
        return datetime.fromisoformat(line["begin"])
    took = float(line["milliseconds"] if "milliseconds" in line else line.get("request_ms", 0))
    ended: datetime = datetime.fromisoformat(line["time"])
    return ended - timedelta(milliseconds=took)


def trace(identifier: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `make trace`."""
    command = ["make", "--no-print-directory", "trace", f"ID={identifier}", *more]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60 * TIME_FACTOR, check=False)


def ordered(services: Services, who: Person, product: int, headers: dict[str, str]) -> None:
    """Place an order."""
    answer = services.orders.post(
        "/api/orders/",
        json={"items": [{"product_id": product, "quantity": 1}]},
        headers={**who.headers, "Idempotency-Key": "one", **headers},
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["X-Request-ID"] == headers["X-Request-ID"]


def test_an_order_has_one_id_in_the_logs_of_all_components(
    stack: Stack, services: Services, person: Callable[[], Person], product: int
) -> None:
    who, (mine, trace_id, span) = person(), fresh()
    ordered(
        services, who, product,
        {"X-Request-ID": mine, "traceparent": f"00-{trace_id}-{span}-01", "tracestate": "tests=1"},
    )  # fmt: skip
    way = [(stack.load_balancer if where == "front" else where, what) for where, what in WAY]

    def steps() -> list[Line]:
        found = lines(stack, mine)
        return [next(line for name, line in found if name == where and said(line).startswith(what))
                for where, what in way]  # fmt: skip

    seen = eventually("a line about the order everywhere", steps, within=20, interval=1)
    assert {line["request_id"] for line in seen} == {mine}
    assert {line["trace_id"] for line in seen} == {trace_id}
    spans = [line["span_id"] for line in seen]
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in spans)
    assert len({*spans, span}) == len(way) + 1
    assert [began(line) for line in seen] == sorted(began(line) for line in seen)

    for identifier in (mine, trace_id):
        shown = trace(identifier)
        assert shown.returncode == 0, shown.stderr
        rows = shown.stdout.splitlines()
        assert rows[0] == f"request: {mine}"
        assert rows[1] == f"trace: {trace_id}"
        table = [re.fullmatch(r" *(\d+\.\d)  (\S+)-\d+ +(.*)", row) for row in rows[4:]]
        assert all(table), shown.stdout
        printed = [(float(row[1]), row[2], row[3]) for row in table if row]
        positions = [
            next(number for number, (_, name, text) in enumerate(printed) if name == where and text.startswith(what))
            for where, what in way
        ]
        assert positions == sorted(positions), shown.stdout
        assert [ms for ms, _, _ in printed] == sorted(ms for ms, _, _ in printed)


def test_a_request_without_headers_gets_both_ids(stack: Stack, site: Site) -> None:
    identifier = site.get("/counter/").headers["X-Request-ID"]
    ours = eventually(
        "the request in two logs",
        lambda: dict(lines(stack, identifier, stack.load_balancer, "web")),
        lambda seen: seen.keys() == {stack.load_balancer, "web"},
        within=10,
    )
    front, web = ours[stack.load_balancer], ours["web"]
    assert re.fullmatch(r"(?!0{32})[0-9a-f]{32}", front["trace_id"])
    assert front["trace_id"] == web["trace_id"]
    assert front["span_id"] != web["span_id"]


def test_an_invalid_traceparent_is_replaced(stack: Stack, site: Site) -> None:
    sent: dict[str, tuple[str, str]] = {}  # of each request what it said, and the trace that is in it
    for bad in BAD_PARENTS:
        mine, trace_id, span = fresh()
        parent = bad.format(trace=trace_id, span=span, TRACE=trace_id.upper(), zeros="0" * 32)
        site.get("/counter/", headers={"X-Request-ID": mine, "traceparent": parent})
        sent[mine] = parent, trace_id

    def logged() -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {mine: {} for mine in sent}
        for text in stack.logs(stack.load_balancer, "web", tail=2000).splitlines():
            name, _, line = text.partition(" | ")
            for mine in sent:
                if mine in line:
                    found[mine][name.rpartition("-")[0]] = json.loads(line)["trace_id"]
        return found

    both = {stack.load_balancer, "web"}
    seen = eventually(
        "each request in two logs", logged, lambda seen: all(one.keys() == both for one in seen.values()), within=10
    )
    for mine, (parent, trace_id) in sent.items():
        assert len(set(seen[mine].values())) == 1, parent
        made = seen[mine]["web"]
        assert re.fullmatch(r"(?!0{32})[0-9a-f]{32}", made), parent
        assert made != trace_id, parent


def test_a_task_of_beat_has_an_id_of_its_own(stack: Stack) -> None:
    def tasks() -> list[Line]:
        texts = [text.partition(" | ")[2] for text in stack.logs("worker", tail=2000).splitlines()]
        found = [json.loads(text) for text in texts if text.startswith("{")]
        return [line for line in found if line.get("task") == "stateless.tasks.clear_expired_sessions"]

    seen = eventually("the periodic task twice", tasks, lambda seen: len(seen) >= 2, within=150, interval=2)
    for name in ("request_id", "trace_id", "span_id"):
        assert len({line[name] for line in seen}) == len(seen)


@pytest.mark.failure
def test_the_logs_of_a_container_that_is_stopped_are_still_read(
    broken: Stack, services: Services, person: Callable[[], Person]
) -> None:
    who, (mine, trace_id, span) = person(), fresh()
    headers = {**who.headers, "X-Request-ID": mine, "traceparent": f"00-{trace_id}-{span}-01"}
    assert services.orders.get("/api/orders/", headers=headers).status_code == 200
    broken.stop("orders")
    shown = trace(mine)
    assert re.search(r"  orders-\d+ +GET /api/orders/ 200, ", shown.stdout), shown.stdout + shown.stderr


# ── what make refuses ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "hostile",
    [
        "", "a b", "$(touch {file})", "$(shell touch {file})", "a; touch {file}", "a'b", "a\ntouch {file}", "x" * 129,
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in (
                " ", "`touch {file}`", 'a"; touch {file} #', "a|b", "*", "[a]", "a/b", "\\", "é", "$$(touch {file})",
                "${{HOME}}", "$(ID)",
            )
        ),
    ],
)  # fmt: skip
def test_an_invalid_id_is_rejected_and_does_no_harm(stack: Stack, tmp_path: Path, hostile: str) -> None:
    file = tmp_path / "harm"
    done = trace(hostile.format(file=file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if not line.startswith("make: ***")] == [
        "error: which? make trace ID=... with the X-Request-ID of an answer, or the id of a trace"
    ]
    assert not file.exists()


@pytest.mark.parametrize(
    ("unknown", "tail"), [("--help", 50), pytest.param("..", 50, marks=pytest.mark.long), ("0" * 32, 20000)]
)
def test_an_unknown_id_is_not_found(stack: Stack, unknown: str, tail: int) -> None:
    done = trace(unknown, *([f"TAIL={tail}"] if tail < 20000 else []))
    assert (done.returncode, done.stdout) == (2, "")
    said = f"error: no container has logged {unknown} in its last lines (TAIL={tail})"
    assert done.stderr.splitlines()[0] == said
