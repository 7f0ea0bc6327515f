"""Requests that gunicorn itself refuses get a problem, as all others do."""

from __future__ import annotations

import json
import logging
import runpy
import socket
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn import util
from gunicorn.http.errors import InvalidHeader, LimitRequestHeaders
from gunicorn.workers.base import Worker
from waiting import TIME_FACTOR

import config


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (LimitRequestHeaders("limit request headers fields"), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "limit"),
        (InvalidHeader('X-A: "\xe9'), HTTPStatus.BAD_REQUEST, 'X-A: "\xe9'),
        (ValueError("a secret"), HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"),
    ],
)
def test_an_error_of_gunicorn_is_a_problem(
    error: Exception, status: HTTPStatus, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "write_error", util.write_error)  # to be as it was afterwards
    runpy.run_path(str(Path(config.__file__).parent / "gunicorn.conf.py"))
    ours, theirs = socket.socketpair()

    def send() -> None:
        theirs.sendall(b"x" * 1_000_000)  # more than the buffers between the two hold
        theirs.shutdown(socket.SHUT_WR)

    with ours, theirs, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        worker = SimpleNamespace(log=logging.getLogger("gunicorn.error"))
        Worker.handle_error(worker, None, ours, ("203.0.113.7", 1), error)
        sent.result(5 * TIME_FACTOR)  # all of it was read, so that nothing is reset
        line, _, rest = theirs.makefile("rb").read().partition(b"\r\n")
    answer = message_from_bytes(rest)
    body = str(answer.get_payload()).encode()
    assert line.decode() == f"HTTP/1.1 {status} {status.phrase}"
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer["Connection"], int(answer["Content-Length"])) == ("close", len(body))
    problem = json.loads(body)
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    assert (problem["title"], problem["status"]) == (status.phrase, status)
    assert says in problem["detail"]
    assert "secret" not in problem["detail"]
