"""Ids of requests and traces: which are taken over, which are new, and which are passed on."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from celery import current_app, shared_task
from django.test import Client

import redis
from scaleout.observability import trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def followed(**headers: str) -> trace.Span:
    """Return the hop that a request with these headers is."""
    return trace.follow({name.replace("_", "-"): value for name, value in headers.items()}.get)


@shared_task(name="scaleout.observability.tests.whose")
def whose() -> dict[str, str]:
    """Return what goes with what this task sends."""
    return trace.headers()


# ── the id ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("valid", ["a", "A-b_c.9", "x" * 128])
def test_a_valid_id_of_the_caller_is_kept(valid: str) -> None:
    assert followed(X_Request_ID=valid).request_id == valid


@pytest.mark.parametrize("invalid", ["", "x" * 129, "a b", "a\n", "<x>", "é", 'a"b'])
def test_an_invalid_id_is_replaced(invalid: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", followed(X_Request_ID=invalid).request_id)


# ── the trace ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("parent", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f" {GOOD}\t", True),
        (f"cc-{TRACE}-{SPAN}-01", True),  # versions of the future
        (f"01-{TRACE}-{SPAN}-00-what-will-be", False),
        (f"fe-{TRACE}-{SPAN}-09-", True),
    ],
)
def test_a_valid_trace_goes_on_with_a_span_of_its_own(parent: str, sampled: bool) -> None:
    span = followed(traceparent=parent)
    assert (span.trace_id, span.sampled) == (TRACE, sampled)
    assert re.fullmatch(r"[0-9a-f]{16}", span.span_id)
    assert span.span_id != SPAN
    assert span.headers()["traceparent"] == f"00-{TRACE}-{span.span_id}-0{int(sampled)}"


BAD = [
    "", "0", GOOD[:-1], f"{GOOD}0", f"{GOOD}-", f"{GOOD}-more", f"{GOOD}, {GOOD}", f"{GOOD},{GOOD}", GOOD.upper(),
    f"ff-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"000-{TRACE}-{SPAN}-01", f"0x-{TRACE}-{SPAN}-01",
    f"FE-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE}-{SPAN}0-01", f"00-{TRACE}-{SPAN[1:]}-01", f"00-{TRACE}-{SPAN}-0",
    f"00-{TRACE}-{SPAN}-0g", f"00-{TRACE}-{SPAN}-A0", f"00-{TRACE[:-1]}G-{SPAN}-01", f"00_{TRACE}_{SPAN}_01",
    f"00-{TRACE}-{SPAN}", f"-{GOOD}", f"cc-{TRACE}-{SPAN}-01.more", f"cc-{TRACE}-{SPAN}-011", f"{GOOD}\n",
    f"cc-{TRACE}-{SPAN}-01-\n", f"00-{TRACE}-{SPAN}-\uff101", "é" * 55, "0" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("parent", BAD)
def test_an_invalid_trace_is_replaced_and_its_state_is_dropped(parent: str) -> None:
    span = followed(traceparent=parent, tracestate="a=1")
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01", span.headers()["traceparent"])
    assert span.trace_id != TRACE
    assert span.state == ""


@pytest.mark.parametrize(
    "state",
    [
        "a=1", "a=1,b=2", "a=1 , b=2", "a=1,,b=2", "0t@v=1", "a_-*/0=!~", f"{'a' * 256}=1", f"a={'x' * 256}",
        ",".join(f"k{n}=1" for n in range(32)), "a= 1",
    ],
)  # fmt: skip
def test_a_valid_state_is_passed_on_as_it_came(state: str) -> None:
    assert followed(traceparent=GOOD, tracestate=state).headers()["tracestate"] == state


@pytest.mark.parametrize(
    "state",
    [
        "a", "=1", "a=", "A=1", "0=1", "a=1,a=2", "a=b=c", "a=\x00", "a=é", "a b=1", "@v=1", "t@=1", "t@0=1", "a@b@c=1",
        f"{'a' * 257}=1", f"a={'x' * 257}", ",".join(f"k{n}=1" for n in range(33)),
        f"a={'x' * 250},b={'x' * 250},c=123456",
        "a=1\nb=2", "a" * 100_000, "," * 513,
    ],
)  # fmt: skip
def test_an_invalid_or_endless_state_is_dropped_and_the_trace_goes_on(state: str) -> None:
    span = followed(traceparent=GOOD, tracestate=state)
    assert span.trace_id == TRACE
    assert "tracestate" not in span.headers()


def test_outside_of_a_request_each_thing_that_is_sent_begins_a_trace() -> None:
    first, second = trace.headers(), trace.headers()
    assert first.keys() == second.keys() == {"X-Request-ID", "traceparent"}
    assert not set(first.values()) & set(second.values())
    assert trace.current() is None


# ── requests ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db(databases="__all__")
def test_a_request_that_has_ended_leaves_nothing_behind() -> None:
    assert Client().get("/health/live", headers={"X-Request-ID": "mine", "traceparent": GOOD}).status_code == 200
    assert trace.current() is None


# ── tasks ─────────────────────────────────────────────────────────────────────────────────────────
def published() -> dict[str, Any]:
    """Send the task, and return the headers of its message."""
    queue = "observability-tests"
    with current_app.connection_for_write(f"redis+socket://{os.environ['TEST_REDIS']}") as broker:
        whose.apply_async(queue=queue, connection=broker)  # type: ignore[call-arg]  # the stubs lack it
    with redis.Redis(unix_socket_path=os.environ["TEST_REDIS"]) as client:
        return dict(json.loads(client.lpop(queue))["headers"])


def test_a_task_that_is_sent_by_a_request_carries_it() -> None:
    token = trace.enter(trace.Span("abc-1", TRACE, SPAN, state="a=1"))
    headers = published()
    trace.leave(token)
    assert headers.items() >= {"X-Request-ID": "abc-1", "traceparent": GOOD, "tracestate": "a=1"}.items()


def test_tasks_without_a_request_have_ids_of_their_own() -> None:
    first, second = published(), published()
    assert first["X-Request-ID"] != second["X-Request-ID"]
    assert first["traceparent"] != second["traceparent"]
    assert len(first["traceparent"]) == 55


def test_a_task_belongs_to_the_request_of_its_sender_until_it_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    outer = trace.Span("outer", "b" * 32, "c" * 16)
    token = trace.enter(outer)
    inner = whose.apply(headers={"X-Request-ID": "abc-1", "traceparent": GOOD, "tracestate": "a=1"}).get()
    assert trace.current() is outer
    trace.leave(token)
    assert (inner["X-Request-ID"], inner["tracestate"]) == ("abc-1", "a=1")
    assert re.fullmatch(rf"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-01", inner["traceparent"])


def test_a_message_with_nonsense_in_its_headers_is_a_task_with_new_ids() -> None:
    nonsense: dict[str, Any] = {"X-Request-ID": 7, "traceparent": ["x"], "tracestate": {}}
    made = whose.apply(headers=nonsense).get()
    assert re.fullmatch(r"[0-9a-f]{32}", made["X-Request-ID"])
    assert len(made["traceparent"]) == 55
