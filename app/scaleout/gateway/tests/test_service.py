"""Calls to replicas that are slow, hung, dead, or answer nonsense."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from prometheus_client import REGISTRY
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.gateway.client import bulkhead, connection, service
from scaleout.gateway.client.addresses import Address
from scaleout.gateway.client.errors import Cut
from scaleout.gateway.client.service import Policy, Service
from scaleout.gateway.edge import views
from scaleout.gateway.edge.views import Gateway, PassedOn
from scaleout.gateway.tests.upstream import OK, Seen, Start, Upstream, close, hang, say

# Long enough for a replica that is well on a busy machine; what waits for their end is given BRIEF.
POLICY = Policy(total=60.0, connect=20.0, attempt=20.0, rest=60.0, failures=1000, concurrency=64, piece=60.0, body=60.0,
                probe_seconds=20.0)  # fmt: skip
BRIEF: dict[str, Any] = {"total": 1.0, "connect": 0.2, "attempt": 0.3, "piece": 0.3, "body": 1.0, "probe_seconds": 0.4}


@dataclass
class Got:
    """An answer of the gateway."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Site:
    """A gateway to one service, `cars`, with these replicas."""

    def __init__(self, *replicas: Upstream, **policy: Any) -> None:
        self.where: list[Address] = [(socket.AF_INET, (replica.host, replica.port)) for replica in replicas]
        cars = Service("cars", "cars", 80, dataclasses.replace(POLICY, **policy), lambda _host, _port: self.where)
        self.gateway = Gateway({"cars": cars}, dataclasses.replace(POLICY, **policy), None, 1_000_000)

    def begin(self, method: str = "GET", path: str = "/api/cars/", body: bytes = b"", **meta: Any) -> HttpResponseBase:
        """Return the beginning of the answer to a request."""
        request = RequestFactory().generic(method, "/")
        request.META |= {"RAW_URI": path, "wsgi.input": io.BytesIO(body)} | meta
        if body and "HTTP_TRANSFER_ENCODING" not in meta:
            request.META.setdefault("CONTENT_LENGTH", str(len(body)))
        return self.gateway(request)

    def ask(self, method: str = "GET", path: str = "/api/cars/", body: bytes = b"", **meta: Any) -> Got:
        """Return the answer to a request."""
        started = time.monotonic()
        response = self.begin(method, path, body, **meta)
        try:
            content = b"".join(response) if isinstance(response, PassedOn) else bytes(_content(response))
        finally:
            response.close()
        return Got(response.status_code, dict(response.items()), content, time.monotonic() - started)


def _content(response: HttpResponseBase) -> bytes:
    assert isinstance(response, HttpResponse)
    return response.content


def count(metric: str, **labels: str) -> float:
    """Return a metric of the service."""
    return REGISTRY.get_sample_value(f"gateway_{metric}", {"service": "cars", **labels}) or 0.0


@pytest.fixture(autouse=True)
def no_database() -> Iterator[None]:
    """Keep Django from looking after connections of other tests when an answer is closed."""
    request_finished.disconnect(close_old_connections)
    yield
    request_finished.connect(close_old_connections)


# ── down, slow, broken ────────────────────────────────────────────────────────────────────────────


def test_a_service_without_an_address_is_unreachable_and_counted_as_such() -> None:
    before = count("failures_total", kind="unreachable")
    assert Site().ask().status == 503
    assert count("failures_total", kind="unreachable") == before + 1


def test_a_service_that_is_down_is_503_at_once_and_says_when_to_come_back(upstreams: Start) -> None:
    replica = upstreams()
    replica.close()
    got = Site(replica, rest=0.3).ask()
    assert (got.status, got.headers["Retry-After"]) == (503, "1")
    assert got.headers["Content-Type"] == "application/problem+json"
    assert json.loads(got.body)["detail"] == "The service 'cars' does not answer at the moment."


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_503_of_the_service_itself_is_passed_on_and_never_asked_for_again(upstreams: Start, method: str) -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n"
    replicas = [upstreams(say(head + b"{}")) for _ in range(2)]
    got = Site(*replicas).ask(method, body=b"x" if method == "POST" else b"")
    assert (got.status, got.body) == (503, b"{}")
    assert "Retry-After" not in got.headers, "the write may be stored: nothing may invite its caller to repeat it"
    assert sum(len(one.seen) for one in replicas) == 1


def test_a_name_without_an_address_is_503() -> None:
    assert Site().ask().status == 503


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hung_service_is_504_when_the_deadline_has_come(upstreams: Start, method: str) -> None:
    got = Site(upstreams(hang), **BRIEF).ask(method)
    assert got.status == 504
    assert 0.9 < got.seconds < 10 * TIME_FACTOR


def test_a_thread_that_runs_again_after_the_deadline_only_answers_504(
    upstreams: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = connection.Kept.take

    def stopped(kept: connection.Kept, address: Address) -> connection.Connection:
        threading.Event().wait(0.3)  # longer than the request has
        return take(kept, address)

    monkeypatch.setattr(connection.Kept, "take", stopped)
    assert Site(upstreams(), total=0.2).ask().status == 504


def trickle(raw: bytes, at_once: bytes = b"") -> Callable[[socket.socket, Seen], None]:
    """Answer with these bytes, one every 50 ms."""

    def respond(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(at_once)
        for byte in raw:
            sock.sendall(bytes([byte]))
            threading.Event().wait(0.05)

    return respond


def test_an_answer_whose_header_trickles_in_is_504_all_the_same(upstreams: Start) -> None:
    got = Site(upstreams(trickle(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1000)), **BRIEF).ask()
    assert got.status == 504
    assert got.seconds < 10 * TIME_FACTOR, "it would take 50 s"


def test_a_body_that_trickles_in_is_cut_off_after_its_time(upstreams: Start) -> None:
    cut = count("cut_answers_total")
    slow = upstreams(trickle(b"x" * 500, OK.replace(b"Length: 2", b"Length: 9999")))
    site = Site(slow, total=60.0, piece=60.0, body=1.0)
    started = time.monotonic()
    with in_time(), pytest.raises(Exception, match="timed out"):
        site.ask()
    assert time.monotonic() - started > 0.9
    assert count("cut_answers_total") == cut + 1


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_502_and_tells_nothing_of_it(upstreams: Start, raw: bytes) -> None:
    got = Site(upstreams(say(raw))).ask("POST")
    assert got.status == 502
    assert json.loads(got.body)["detail"] == "The service 'cars' gave no valid answer."


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_is_not_waited_for_whatever_it_says(upstreams: Start, status: int) -> None:
    raw = f'HTTP/1.1 {status} X\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n'
    replica = upstreams(say(raw.encode()))
    site = Site(replica)
    got = [site.ask() for _ in range(2)]
    assert [(one.status, one.headers["ETag"], one.body) for one in got] == [(status, '"x"', b"")] * 2
    assert max(one.seconds for one in got) < POLICY.total * TIME_FACTOR


def test_hints_before_an_answer_are_not_taken_for_it(upstreams: Start) -> None:
    hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    got = Site(upstreams(say(hints + OK))).ask("POST")
    assert (got.status, got.body, got.headers.get("Link")) == (200, b"{}", None)


def test_who_may_keep_an_answer_is_said_in_one_line(upstreams: Start) -> None:
    lines = b"Cache-Control: private\r\nVary: Accept\r\nX: 1\r\ncache-control: no-store\r\nVary: Cookie\r\nX: 2\r\n"
    response = Site(upstreams(say(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\n{}"))).begin()
    assert (response["Cache-Control"], response["Vary"]) == ("private, no-store", "Accept, Cookie")
    kept = {"cache-control", "vary", "x"}
    values = sorted(value for name, value in response.items() if name.lower() in kept)
    assert values == ["1", "2", "Accept, Cookie", "private, no-store"]
    response.close()


def test_a_caller_who_is_slow_to_take_the_answer_is_not_the_services_failure(upstreams: Start) -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    cut = count("cut_answers_total")
    response = Site(upstreams(say(big)), body=0.2).begin()
    pieces = iter(response)
    next(pieces)
    threading.Event().wait(0.3)
    with pytest.raises(Cut, match="the caller took too long"):
        next(pieces)
    response.close()
    assert count("cut_answers_total") == cut


def test_a_connection_that_is_closed_before_the_answer_is_502(upstreams: Start) -> None:
    assert Site(upstreams(close)).ask("POST").status == 502


def test_a_service_that_dies_before_the_first_byte_of_the_body_is_502(upstreams: Start) -> None:
    def half(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(OK[:-2])
        sock.shutdown(socket.SHUT_RDWR)

    assert Site(upstreams(half)).ask("POST").status == 502


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n100\r\nmore",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n",
    ],
)
def test_a_body_that_breaks_off_is_never_passed_on_as_a_whole_one(upstreams: Start, begin: bytes) -> None:
    def half(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(begin)
        sock.shutdown(socket.SHUT_RDWR)

    replica = upstreams(half)
    site = Site(replica)
    with pytest.raises(Exception, match=r"."):
        site.ask()
    replica.respond = say(OK)
    assert site.ask().status == 200, "its connection was used again"


def test_an_answer_beyond_the_limit_is_cut_off(upstreams: Start) -> None:
    site = Site(upstreams(say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 500_000)), most_answer=100_000)
    with pytest.raises(Exception, match="too large"):
        site.ask()


# ── second tries ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_dead_replica_costs_no_caller_an_answer(upstreams: Start, method: str) -> None:
    dead, alive = upstreams(), upstreams()
    dead.close()
    site = Site(dead, alive)
    assert Counter(site.ask(method, body=b"x").status for _ in range(10)) == {200: 10}
    assert len(alive.seen) == 10


def test_a_read_that_a_replica_drops_or_hangs_on_is_asked_of_another_one(upstreams: Start) -> None:
    for fault in (close, hang):
        bad, good = upstreams(fault), upstreams()
        before = count("retries_total")
        site = Site(bad, good, attempt=0.5 * TIME_FACTOR)
        assert Counter(site.ask().status for _ in range(8)) == {200: 8}
        assert count("retries_total") - before == len(bad.seen) <= 1, "a replica that failed is not avoided"


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(("fault", "body"), [(close, b""), (close, b"once"), (hang, b"")])
def test_a_write_is_never_sent_twice(upstreams: Start, method: str, fault: Any, body: bytes) -> None:
    replicas = [upstreams(fault) for _ in range(3)]
    assert Site(*replicas, **BRIEF).ask(method, body=body).status in (502, 504)
    assert sum(len(replica.seen) for replica in replicas) == 1


def test_a_read_with_a_body_that_was_read_is_not_sent_twice(upstreams: Start) -> None:
    replicas = [upstreams(close) for _ in range(2)]
    assert Site(*replicas).ask("GET", body=b"x").status == 502
    assert sum(len(replica.seen) for replica in replicas) == 1


def test_second_tries_stop_when_their_budget_is_spent(upstreams: Start) -> None:
    replicas = [upstreams(close), upstreams(close)]
    site = Site(*replicas, saved_tries=10.0, second_tries=0.1)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: site.ask().status, range(100)))
    assert Counter(statuses) == {502: 100}
    assert 110 <= sum(len(replica.seen) for replica in replicas) <= 120


def test_an_answer_of_the_service_is_final_even_if_it_is_500(upstreams: Start) -> None:
    replicas = [upstreams(say(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad")) for _ in range(2)]
    got = Site(*replicas).ask()
    assert (got.status, got.body) == (500, b"bad")
    assert sum(len(replica.seen) for replica in replicas) == 1


# ── connections ───────────────────────────────────────────────────────────────────────────────────


def test_connections_are_kept_and_used_again(upstreams: Start) -> None:
    replica = upstreams()
    site = Site(replica)
    assert [site.ask(method).status for method in ("GET", "POST", "HEAD", "GET")] == [200, 200, 200, 200]
    assert replica.connections == 1


def test_a_thread_that_ends_leaves_no_connection_open(upstreams: Start) -> None:
    replica = upstreams()
    site = Site(replica)
    thread = threading.Thread(target=site.ask)
    thread.start()
    thread.join()
    eventually(lambda: replica.seen and not replica._open)


def test_each_thread_has_a_connection_of_its_own(upstreams: Start) -> None:
    replica = upstreams(lambda sock, seen: sock.sendall(OK[:-2] + seen.line.split()[1][-2:]))
    site, barrier = Site(replica), threading.Barrier(8)

    def work(number: int) -> set[bytes]:
        barrier.wait(5 * TIME_FACTOR)
        return {site.ask(path=f"/api/cars/{number}").body for _ in range(20)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(10, 18))) == [{str(number).encode()} for number in range(10, 18)]
    assert replica.connections == 8


def test_threads_that_come_first_get_one_gateway_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    views._from_settings.cache_clear()
    built: list[str] = []

    def slow(url: str) -> SplitResult:
        built.append(url)
        threading.Event().wait(0.02)
        return urlsplit(url)

    monkeypatch.setattr(service, "urlsplit", slow)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: id(views.gateway()), range(8)))) == 1
    assert len(built) == len(set(built))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_the_service_has_closed_while_idle_is_noticed(upstreams: Start, method: str) -> None:
    replica = upstreams()
    site = Site(replica)
    for _ in range(5):
        assert site.ask(method).status == 200
        replica.drop_connections()
        eventually(lambda: not replica._open)
    assert len(replica.seen) == 5


def dies_when_used_again() -> Callable[[socket.socket, Seen], None]:
    """Answer the first request of a connection, and close it at the second: the race that no check
    can see.
    """
    used: list[socket.socket] = []

    def respond(sock: socket.socket, _seen: Seen) -> None:
        if sock in used:
            sock.shutdown(socket.SHUT_RDWR)
        else:
            used.append(sock)
            sock.sendall(OK)

    return respond


def test_a_connection_that_is_closed_just_as_it_is_used_fails_no_read(upstreams: Start) -> None:
    replica = upstreams(dies_when_used_again())
    site = Site(replica)
    assert Counter(site.ask().status for _ in range(6)) == {200: 6}


def test_a_connection_that_is_closed_just_as_it_is_used_repeats_no_write(upstreams: Start) -> None:
    replica = upstreams(dies_when_used_again())
    site = Site(replica)
    assert [site.ask("POST").status for _ in range(4)] == [200, 502, 200, 502]
    assert len(replica.seen) == 4


def test_unrequested_bytes_never_become_the_next_answer(upstreams: Start) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    answered, added = threading.Event(), threading.Event()

    def late(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(OK)
        assert answered.wait(5 * TIME_FACTOR)
        sock.sendall(forged)
        added.set()

    for respond in (say(OK + forged), say(OK + forged * 1000)):
        site = Site(upstreams(respond))
        assert [site.ask().body for _ in range(3)] == [b"{}"] * 3
    site = Site(upstreams(late))
    for _ in range(3):
        assert site.ask().body == b"{}"
        answered.set()
        assert added.wait(5 * TIME_FACTOR)
        answered.clear()
        added.clear()


def test_an_answer_that_is_not_read_to_its_end_spoils_no_other(upstreams: Start) -> None:
    replica = upstreams(say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf "))  # the other half is on its way
    site = Site(replica, concurrency=1)
    site.begin().close()  # as gunicorn does when the caller has gone
    replica.respond = say(OK)
    assert site.ask().body == b"{}"
    assert replica.connections == 2


def test_an_answer_that_a_middleware_throws_away_gives_its_place_back(upstreams: Start) -> None:
    site = Site(upstreams(), concurrency=1, patience=0.0)
    site.begin()
    gc.collect()
    assert site.ask().status == 200


# ── breaker and bulkhead ──────────────────────────────────────────────────────────────────────────


def test_a_service_that_is_down_is_left_alone_and_asked_again_after_a_while(upstreams: Start) -> None:
    replica = upstreams(close)
    site = Site(replica, failures=3)
    assert [site.ask("POST").status for _ in range(3)] == [502] * 3
    assert count("breaker_state") == 2
    rejected = count("rejections_total", reason="open")
    got = site.ask("POST")
    assert (got.status, got.headers["Retry-After"]) == (503, "60")
    assert len(replica.seen) == 3, "it was asked while the breaker was open"
    assert count("rejections_total", reason="open") == rejected + 1
    replica.respond = say(OK)
    end_the_rest(site)
    assert site.ask("POST").status == 200
    assert count("breaker_state") == 0


def test_one_request_tries_a_service_that_is_still_hung_and_the_others_are_refused(upstreams: Start) -> None:
    replica = upstreams(hang)
    site = Site(replica, failures=2, **BRIEF)
    assert [site.ask().status for _ in range(2)] == [504, 504]
    end_the_rest(site)
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda _: site.ask().status, range(16)))
    assert statuses == {504: 1, 503: 15}
    assert len(replica.seen) == 3


def end_the_rest(site: Site) -> None:
    """Let the seconds pass in which the service is left alone."""
    site.gateway._services["cars"]._breaker._until = 0.0


def test_a_bad_body_of_a_caller_says_nothing_against_the_service(upstreams: Start) -> None:
    replica = upstreams()
    site = Site(replica, failures=1)
    for _ in range(3):
        assert site.ask("POST", body=b"short", CONTENT_LENGTH="100").status == 400
    assert site.ask("POST", body=b"fine").status == 200
    eventually(lambda: Counter(seen.complete for seen in replica.seen) == {False: 3, True: 1})


def test_a_hung_service_holds_so_many_threads_and_no_more(upstreams: Start) -> None:
    held = threading.Event()

    def hold(sock: socket.socket, _seen: Seen) -> None:
        held.wait(60)
        sock.sendall(OK)

    replica = upstreams(hold)
    site = Site(replica, concurrency=2, patience=0.1)
    with ThreadPoolExecutor(16) as pool:
        first = [pool.submit(site.ask) for _ in range(2)]
        eventually(lambda: len(replica.seen) == 2)
        assert Counter(got.status for got in pool.map(lambda _: site.ask(), range(14))) == {503: 14}
        assert len(replica.seen) == 2
        held.set()
        assert [one.result().status for one in first] == [200, 200]


def test_under_load_everyone_is_served_though_few_at_a_time(upstreams: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHORT", "STILL"):  # a busy machine may stop every call for longer than that
        monkeypatch.setattr(bulkhead, name, getattr(bulkhead, name) * 10 * TIME_FACTOR)
    lock, now, most = threading.Lock(), 0, 0

    def busy(sock: socket.socket, _seen: Seen) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        sock.sendall(OK)

    site = Site(upstreams(busy), concurrency=2)
    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(lambda _: site.ask().status, range(200))) == {200: 200}
    assert most == 2


# ── bodies and refusals ───────────────────────────────────────────────────────────────────────────


def test_nothing_is_sent_for_a_request_that_is_refused(upstreams: Start) -> None:
    replica = upstreams()
    site = Site(replica)
    refusals: list[tuple[int, dict[str, Any]]] = [
        (400, {"path": "/api/cars/../x"}),
        (400, {"path": "http://cars/api/cars/"}),
        (404, {"path": "/api/boats/"}),
        (405, {"method": "TRACE"}),
        (405, {"method": "PROPFIND"}),
        (413, {"method": "POST", "CONTENT_LENGTH": "1000001"}),
        (400, {"method": "POST", "CONTENT_LENGTH": "1e3"}),
    ]
    for status, how in refusals:
        got = site.ask(**how)
        assert (got.status, got.headers["Content-Type"]) == (status, "application/problem+json"), how
    assert replica.connections == 0


def test_a_body_without_a_length_is_stopped_at_the_limit_and_never_ends_for_the_service(upstreams: Start) -> None:
    replica = upstreams()
    meta: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    site = Site(replica)
    assert site.ask("POST", body=b"x" * 1_000_000, **meta).status == 200
    assert site.ask("POST", body=b"x" * 1_000_001, **meta).status == 413
    eventually(lambda: not replica._open)
    assert [seen.complete for seen in replica.seen] == [True, False]


def test_an_answer_that_comes_before_the_end_of_the_body_counts(upstreams: Start) -> None:
    def refuse(sock: socket.socket, _seen: Seen) -> None:
        raise AssertionError("the body was read")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        replica = upstreams(refuse)
        site = Site(replica)
        site.where = [(socket.AF_INET, listener.getsockname())]

        def early() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

        server = threading.Thread(target=early)
        server.start()
        got = site.ask("POST", body=b"x" * 900_000)
        server.join()
    assert (got.status, got.body) == (413, b"no")


def test_the_service_gets_its_deadline_and_a_second_one_what_is_left(upstreams: Start) -> None:
    sent: list[float] = []

    def hang_at_first(sock: socket.socket, seen: Seen) -> None:
        sent.append(float(seen.values("X-Deadline")[0]))
        (hang if len(sent) == 1 else say(OK))(sock, seen)

    site = Site(upstreams(hang_at_first), upstreams(hang_at_first), attempt=1.0)
    assert site.ask(HTTP_X_DEADLINE="99").status == 200
    first, second = sent
    assert first <= 1.0, "a try that another replica may follow has its own end"
    assert 1.0 < second <= 59.0


# ── a replica that hangs, or is about to stop ─────────────────────────────────────────────────────


def probed(status: bytes = b"200 OK", more: bytes = b"") -> Callable[[socket.socket, Seen], None]:
    """Answer the probe with this status, and everything else with 200 and these headers."""

    def respond(sock: socket.socket, seen: Seen) -> None:
        line = status if seen.line.startswith(b"GET /health/ ") else b"200 OK"
        sock.sendall(b"HTTP/1.1 %b\r\n%bContent-Length: 2\r\n\r\n{}" % (line, more))

    return respond


def asked(replica: Upstream, path: bytes = b"/api/cars/") -> int:
    """Return how many requests for the path, whatever the method, a replica has seen."""
    return sum(path in seen.line for seen in replica.seen)


def test_a_new_connection_is_probed_and_one_that_was_kept_is_not(upstreams: Start) -> None:
    replica = upstreams(probed())
    site = Site(replica, probe="/health/")
    assert [site.ask("POST").status for _ in range(5)] == [200] * 5
    assert (asked(replica, b"/health/"), asked(replica), replica.connections) == (1, 5, 1)


@pytest.mark.parametrize(
    "bad", [hang, close, probed(b"503 Service Unavailable"), probed(more=b"Connection: close\r\n")]
)
def test_no_post_is_lost_to_a_replica_that_hangs_or_stops_while_there_is_another(upstreams: Start, bad: Any) -> None:
    stopping, good = upstreams(bad), upstreams(probed())
    for _ in range(10):
        # One that knows nothing of the replicas yet.
        site = Site(stopping, good, probe="/health/", probe_seconds=0.2 * TIME_FACTOR)
        assert site.ask("POST", body=b"{}").status == 200
    assert (asked(stopping), asked(good)) == (0, 10)
    assert asked(stopping, b"/health/") > 0, "it was never chosen"


def test_two_replicas_that_stop_at_once_leave_time_for_a_third(upstreams: Start) -> None:
    stopping, good = [upstreams(hang), upstreams(hang)], upstreams(probed())
    for _ in range(5):
        site = Site(*stopping, good, probe="/health/", probe_seconds=0.2 * TIME_FACTOR, saved_tries=10.0)
        assert site.ask("POST", body=b"{}").status == 200
    assert asked(good) == 5


def test_the_last_replica_is_asked_although_it_is_draining(upstreams: Start) -> None:
    replica = upstreams(probed(b"503 Service Unavailable"))
    assert Site(replica, probe="/health/").ask("POST").status == 200


def test_a_replica_that_hangs_alone_is_504_and_was_sent_nothing(upstreams: Start) -> None:
    replica = upstreams(hang)
    assert Site(replica, probe="/health/", **BRIEF).ask("POST").status == 504
    assert asked(replica) == 0


def test_a_replica_that_says_it_is_draining_gets_no_more_over_the_connections_that_are_kept(upstreams: Start) -> None:
    draining, good = upstreams(probed(more=b"X-Draining: yes\r\n")), upstreams(probed())
    for _ in range(10):
        site = Site(draining, good)
        got = [site.ask("POST") for _ in range(5)]
        assert [one.status for one in got] == [200] * 5
        assert not any("X-Draining" in one.headers for one in got)
    assert asked(draining) <= 10, "asked again after it had said so"
    assert asked(good) >= 40


def test_a_call_without_time_is_late_and_nothing_against_the_service(upstreams: Start) -> None:
    replica = upstreams()
    site = Site(replica, total=0.0, failures=1)
    assert site.ask("POST").status == 504
    got = site.ask("POST")  # an open breaker would be 503
    assert (got.status, "no time left" in got.body.decode()) == (504, True)
    assert replica.seen == []


def test_a_service_that_hangs_in_the_middle_of_an_answer_lets_no_caller_wait(upstreams: Start) -> None:
    replica = upstreams(say(OK.replace(b"Length: 2", b"Length: 9")))
    site = Site(replica, concurrency=1, patience=60.0, piece=0.3)
    for _ in range(2):
        with pytest.raises(Exception, match="timed out"):
            site.ask()
    cars = site.gateway._services["cars"]
    cars.policy = dataclasses.replace(cars.policy, piece=60.0)  # this one hangs for as long as the test needs
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(site.ask)
        eventually(lambda: len(replica.seen) == 3)
        assert site.ask().status == 503
        assert not hung.done(), "it waited for the one before"
        replica.close()
        assert hung.exception() is not None


def test_what_a_call_waits_for_its_place_is_not_taken_from_the_service(upstreams: Start) -> None:
    def respond(sock: socket.socket, _seen: Seen) -> None:
        threading.Event().wait(0.1 * TIME_FACTOR)
        sock.sendall(OK)

    total, attempt = 0.8 * TIME_FACTOR, 0.3 * TIME_FACTOR
    site = Site(upstreams(respond), total=total, attempt=attempt, concurrency=1, waiting=12, patience=60.0)
    with ThreadPoolExecutor(12) as pool:
        got = list(pool.map(lambda _: site.ask("POST"), range(12)))
    assert {one.status for one in got} == {200, 503}, "503: there was no place in time; 504 would blame the service"
