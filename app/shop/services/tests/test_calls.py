"""A call to another service is signed, ends in time, and raises what requests raises when there is
no answer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import requests
from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings
from scaleout.gateway import BreakerOpen, deadline
from scaleout.identity import keys, tokens
from scaleout.observability import trace
from scaleout.replication import state
from waiting import TIME_FACTOR, in_time

from shop import services
from shop.services import calls
from shop.services.tests import servers

MOST = 1_048_576  # bytes of an answer


@pytest.fixture(autouse=True)
def a_request_of_its_own() -> None:
    """What an earlier test has written is not this caller's, nor what it knew of a service."""
    state.begin()
    calls._session.cache_clear()


def point_to(url: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services, "address", lambda _service: url)


def get(path: str = "/x", timeout: float = 2) -> requests.Response:
    """Call the orders service as its callers do."""
    answer = calls.session().get(f"http://orders{path}", timeout=timeout)
    answer.raise_for_status()
    answer.json()
    return answer


def test_an_answer_comes_with_its_status_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(servers.answer(b'{"a": 1}')) as url:
        point_to(url, monkeypatch)
        answer = calls.session().get("http://orders/x", timeout=2)
        assert (answer.status_code, answer.json()) == (200, {"a": 1})
    with servers.serving(servers.answer(b"{}", b"HTTP/1.1 404 Not Found\r\n")) as url:
        point_to(url, monkeypatch)
        assert calls.session().get("http://orders/x", timeout=2).status_code == 404


def test_a_call_carries_a_token_for_that_service_only_the_request_and_what_was_written(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(servers.request(connection))
        connection.sendall(servers.HEAD + b"Content-Length: 2\r\n\r\n{}")

    entered = trace.enter(trace.Span("abc-1", "a" * 32, "b" * 16, sampled=False, state="c=1"))
    state.begin(after=0x16B374D48)
    with servers.serving(behave) as url:
        point_to(url, monkeypatch)
        get("/api/orders/?user_id=7")
    trace.leave(entered)
    head = seen[0].decode()
    assert head.startswith("GET /api/orders/?user_id=7 HTTP/1.1\r\n")
    assert "X-Request-ID: abc-1\r\n" in head
    assert f"traceparent: 00-{'a' * 32}-{'b' * 16}-00\r\ntracestate: c=1\r\n" in head
    assert "X-Read-After: 1/6B374D48\r\n" in head
    token = head.split("Authorization: Bearer ")[1].split("\r\n")[0]
    trusted = django_settings.IDENTITY["KEYRING"].trusted
    settings.IDENTITY = {"KEYRING": keys.Keyring("orders", None, trusted)}
    assert tokens.verify(token) == tokens.Caller(service="users")
    settings.IDENTITY = {"KEYRING": keys.Keyring("products", None, trusted)}
    with pytest.raises(tokens.BadToken):
        tokens.verify(token)


BAD: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "closed port": servers.closed_port,
    "takes no connection": servers.unreachable,
    "hangs": lambda: servers.serving(servers.hang),
    "hangs up": lambda: servers.serving(servers.reset),
    "trickles": lambda: servers.serving(servers.trickle),
    "no JSON": lambda: servers.serving(servers.answer(b"<html>")),
    "an error of its own": lambda: servers.serving(servers.answer(b"{}", b"HTTP/1.1 500 Oh\r\n")),
    "too many levels": lambda: servers.serving(servers.answer(b"[" * 500_000)),
    "no HTTP": lambda: servers.serving(servers.answer(b"", b"hello\r\n")),
    "half an answer": lambda: servers.serving(
        lambda connection: connection.sendall(servers.HEAD + b"Content-Length: 9\r\n\r\n{")
    ),
    "an endless answer": lambda: servers.serving(servers.answer(b" " * (MOST + 1))),
}


@pytest.mark.parametrize("how", BAD)
def test_a_service_without_a_usable_answer_is_unavailable_in_time(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with BAD[how]() as url:
        point_to(url, monkeypatch)
        with in_time(), pytest.raises(requests.RequestException):
            get(timeout=0.6)


def test_a_call_sends_its_deadline_and_waits_no_longer_than_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(servers.request(connection))
        servers.hang(connection)

    def view(_request: HttpRequest) -> HttpResponse:
        with in_time(), pytest.raises(requests.Timeout):
            get(timeout=60 * TIME_FACTOR)
        return HttpResponse()

    with servers.serving(behave) as url:
        point_to(url, monkeypatch)
        deadline.DeadlineMiddleware(view)(RequestFactory().get("/", headers={"X-Deadline": f"{0.4 * TIME_FACTOR:.1f}"}))
    said = float(seen[0].decode().split("X-Deadline: ")[1].split("\r\n")[0])
    assert 0.0 < said <= 0.4 * TIME_FACTOR


def test_the_breaker_of_a_hung_service_opens_after_a_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(servers.hang) as url:
        point_to(url, monkeypatch)
        for _ in range(4):
            with pytest.raises(requests.Timeout):
                get(timeout=0.2 * TIME_FACTOR)  # time to send it: one that was not sent is no failure
        with in_time():
            for _ in range(20):
                with pytest.raises(BreakerOpen, match="orders"):
                    get(timeout=2 * TIME_FACTOR)


def test_an_unknown_host_is_unavailable_in_time() -> None:
    with in_time(), pytest.raises(requests.ConnectionError):
        calls.session().get("http://products/x", timeout=0.6)


def test_a_connection_closed_by_the_server_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[int] = []
    answered = threading.Event()

    def once(connection: socket.socket) -> None:
        """Promise to keep the connection, answer one request, and read the next one without an
        answer.
        """
        connections.append(1)
        servers.request(connection)
        connection.sendall(servers.HEAD + b"Content-Length: 2\r\n\r\n{}")
        answered.set()
        servers.request(connection)

    with servers.serving(once) as url:
        point_to(url, monkeypatch)
        for _ in range(3):
            assert get().status_code == 200
    assert len(connections) == 3


def test_connections_are_kept_by_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[int] = []

    def behave(connection: socket.socket) -> None:
        connections.append(1)
        servers.answer(b"{}")(connection)

    with servers.serving(behave) as url:
        point_to(url, monkeypatch)
        for _ in range(5):
            get()
    assert len(connections) == 1
