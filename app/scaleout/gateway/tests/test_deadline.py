"""No work for a caller who has gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from scaleout.gateway import deadline


def service(request: HttpRequest) -> HttpResponse:
    """Say how long a call to another service might take."""
    return HttpResponse(f"{deadline.left(60):.3f}")


def ask(sent: str | None, sock: socket.socket | None = None) -> HttpResponse:
    """Send a request with this deadline."""
    request = RequestFactory().get("/", headers={} if sent is None else {"X-Deadline": sent})
    if sock is not None:
        request.META["gunicorn.socket"] = sock
    return deadline.DeadlineMiddleware(service)(request)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a connection."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_the_seconds_that_are_left_bound_every_call_of_this_request_and_of_no_other() -> None:
    assert 1.0 < float(ask("30.5").content) <= 30.5
    assert float(ask(None).content) == 60
    assert deadline.left(60) == 60


def test_a_deadline_that_has_passed_is_answered_before_any_work() -> None:
    assert ask("0.000").status_code == 504


def test_so_is_a_caller_who_has_closed_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    here, caller = pair
    assert ask("30.000", here).status_code == 200
    caller.sendall(b"the rest of a body")
    assert ask("30.000", here).status_code == 200
    assert here.recv(100) == b"the rest of a body"
    caller.close()
    assert ask("30.000", here).status_code == 504


@pytest.mark.parametrize("bad", ["", "x", "-1", "1e3", "nan", "inf", "1,5", " 1", "99999", "1.0\n"])
def test_what_is_no_number_of_seconds_is_a_bad_request(bad: str) -> None:
    with pytest.raises(BadRequest):
        ask(bad)


def test_a_deadline_is_sent_as_it_is_read() -> None:
    assert deadline.headers(1.7341) == {"X-Deadline": "1.734"}
    assert deadline.headers(-1) == {"X-Deadline": "0.000"}
