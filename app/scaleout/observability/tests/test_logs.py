"""One line is one JSON object, with the request that it belongs to."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from celery import shared_task
from django.test import Client
from pytest_django import Settings

from scaleout.observability import trace
from scaleout.observability.logs import formatter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Written:
    """The output of the handler."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of one logger."""
        found = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in found if line["logger"] == name]


@pytest.fixture
def written() -> Iterator[Written]:
    """A handler like the one on standard output."""
    found, root = Written(), logging.getLogger()
    handler = logging.StreamHandler(found.stream)
    handler.setFormatter(formatter())
    root.addHandler(handler)
    yield found
    root.removeHandler(handler)


@shared_task(name="scaleout.observability.tests.divide_by")
def divide_by(number: int) -> float:
    """Log, and return the inverse."""
    logging.getLogger("of a task").info("dividing")
    return 1 / number


def test_a_line_is_one_json_object_whatever_is_in_it(written: Written) -> None:
    hostile = 'line\nwith "quotes" \x1b[0m \ud800 %s'
    logging.getLogger("x").info(hostile)
    structlog.stdlib.get_logger("x").info(hostile, path=hostile, other=object, number=float("inf"))
    plain, bound = written.lines("x")
    assert plain["message"] == bound["message"] == bound["path"] == hostile
    assert bound["other"] == "<class 'object'>"


def test_a_line_says_when_where_and_of_which_request(written: Written) -> None:
    token = trace.enter(trace.Span("abc-1", TRACE, "b" * 16))
    logging.getLogger("x").warning("%d of %d", 1, 2)
    trace.leave(token)
    logging.getLogger("x").warning("after it")
    line, after = written.lines("x")
    assert list(line) == ["time", "level", "service", "logger", "message", "request_id", "trace_id", "span_id"]
    assert (line["level"], line["message"], line["request_id"]) == ("WARNING", "1 of 2", "abc-1")
    assert (line["trace_id"], line["span_id"]) == (TRACE, "b" * 16)
    moment = datetime.fromisoformat(line["time"])
    assert moment.tzinfo == UTC
    assert len(line["time"]) == len("2026-01-01T00:00:00.000000+00:00")
    assert "request_id" not in after


@pytest.mark.parametrize("of", [logging.getLogger("x"), structlog.stdlib.get_logger("x")])
def test_a_line_has_the_traceback(written: Written, of: Any) -> None:
    try:
        1 / 0  # noqa: B018 - its failure is what is logged
    except ZeroDivisionError:
        of.exception("failed")
    (line,) = written.lines("x")
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ZeroDivisionError: division by zero")
    assert "exc_info" not in line


@pytest.mark.django_db(databases="__all__")
def test_a_request_writes_one_line_with_what_it_asked_for_and_whose_it_is(written: Written) -> None:
    headers = {"X-Request-ID": "abc-1", "traceparent": f"00-{TRACE}-{'b' * 16}-01", "X-Real-IP": "203.0.113.7"}
    Client().get("/nothing/?secret=1", headers=headers)
    (line,) = written.lines("access")
    assert line.items() >= {
        "level": "INFO", "message": "GET /nothing/ 404", "request_id": "abc-1", "trace_id": TRACE, "method": "GET",
        "path": "/nothing/", "status": 404, "client": "203.0.113.7",
    }.items()  # fmt: skip
    assert line["span_id"] != "b" * 16
    assert line["milliseconds"] > 0
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(("number", "state"), [(1, "SUCCESS"), (0, "FAILURE")])
def test_a_task_writes_one_line_that_says_how_it_ended(written: Written, number: int, state: str) -> None:
    divide_by.apply(args=(number,), headers={"X-Request-ID": "abc-1"})
    (line,) = written.lines("task")
    assert (line["task"], line["state"], line["request_id"]) == (
        "scaleout.observability.tests.divide_by",
        state,
        "abc-1",
    )
    assert line["message"] == f"scaleout.observability.tests.divide_by {state}"
    assert line["milliseconds"] >= 0
    (inside,) = written.lines("of a task")
    assert [inside[name] for name in ("request_id", "trace_id", "span_id")] == [
        line[name] for name in ("request_id", "trace_id", "span_id")
    ]
    failures = written.lines("celery.app.trace")
    assert [one["request_id"] for one in failures if "ZeroDivisionError" in one["exception"]] == (
        [] if number else ["abc-1"]
    )


def test_what_every_worker_does_every_few_seconds_is_not_worth_a_line(written: Written, settings: Settings) -> None:
    settings.OBSERVABILITY = {"ROUTINE_TASKS": [divide_by.name]}
    divide_by.apply(args=(1,))
    assert written.lines("task") == []
    divide_by.apply(args=(0,))
    assert [line["state"] for line in written.lines("task")] == ["FAILURE"]
