"""A `requests.Session` over the client: what it sends, what it raises, and when it gives up."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from requests import exceptions
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.gateway import (
    AnswerTooLarge,
    BreakerOpen,
    Busy,
    DeadlineMiddleware,
    Policy,
    Service,
    ServiceAdapter,
    ServiceSession,
)
from scaleout.gateway.client.addresses import Address
from scaleout.gateway.tests.upstream import Seen, Start, Upstream, close, hang, say

URL = "http://cars/api/cars/"


def session(*replicas: Upstream, most: int = 100_000, **policy: Any) -> ServiceSession:
    """Return a session that calls one service, `cars`, with these replicas."""
    where: list[Address] = [(socket.AF_INET, (replica.host, replica.port)) for replica in replicas]
    usual: dict[str, Any] = {"total": 60.0, "connect": 20.0, "attempt": 20.0, "failures": 1000, "concurrency": 64}
    cars = Service("cars", "cars", 80, Policy(**usual | policy), lambda _host, _port: where)
    return ServiceSession([cars], most)


def answer(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an answer with these lines in its header."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────


def test_a_request_has_the_headers_of_its_call_and_no_others(upstreams: Start) -> None:
    replica = upstreams()
    headers = {"X-Request-ID": "abc-1", "X-Read-After": "0/1", "Authorization": "Bearer x", "Connection": "close"}
    session(replica).get(URL, params={"a": "1,2"}, headers=headers, timeout=30)
    seen = replica.seen[0]
    assert seen.line == b"GET /api/cars/?a=1%2C2 HTTP/1.1"
    lines = dict(line.decode().split(": ", 1) for line in seen.head.split(b"\r\n")[1:] if line)
    assert 0.0 < float(lines.pop("X-Deadline")) <= 30
    assert lines == {
        "Host": "cars",
        "Accept-Encoding": "identity",
        "X-Request-ID": "abc-1",
        "X-Read-After": "0/1",
        "Authorization": "Bearer x",
    }


def test_nothing_is_taken_from_the_environment(
    upstreams: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine cars login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    replica = upstreams()
    assert session(replica).get(URL).status_code == 200
    assert replica.seen[0].values("Authorization") == []
    assert replica.seen[0].line == b"GET /api/cars/ HTTP/1.1"


@pytest.mark.parametrize(
    ("how", "body", "length", "kind"),
    [
        ({"json": {"a": 1}}, b'{"a": 1}', "8", "application/json"),
        ({"data": {"a": "ä"}}, b"a=%C3%A4", "8", "application/x-www-form-urlencoded"),
        ({"data": b"\xff"}, b"\xff", "1", None),
        ({}, b"", "0", None),
    ],
)
def test_a_body_arrives_with_its_length_once(
    upstreams: Start, how: dict[str, Any], body: bytes, length: str, kind: str | None
) -> None:
    replica = upstreams()
    assert session(replica).post(URL, **how).status_code == 200
    seen = replica.seen[0]
    assert (seen.body, seen.values("Content-Length")) == (body, [length])
    assert seen.values("Content-Type") == ([kind] if kind else [])


def test_a_body_that_would_be_streamed_is_refused(upstreams: Start) -> None:
    replica = upstreams()
    with pytest.raises(ValueError, match="bytes or a str"):
        session(replica).post(URL, data=iter([b"a"]))
    assert replica.seen == []


@pytest.mark.parametrize(
    "url",
    ["http://other/", "https://cars/", "http://carsx/", "http://cars:81/", "http://cars@other/", "http://x@cars/"],
)
def test_nothing_but_the_services_can_be_called(upstreams: Start, url: str) -> None:
    replica = upstreams()
    with pytest.raises(exceptions.InvalidSchema):
        session(replica).get(url)
    assert replica.connections == 0


def test_cookies_of_one_answer_are_not_sent_with_the_next_request(upstreams: Start) -> None:
    replica = upstreams(say(answer(b"{}", b"Set-Cookie: a=1; Path=/")))
    cars = session(replica)
    for _ in range(2):
        assert cars.get(URL).headers["Set-Cookie"] == "a=1; Path=/"
    assert [seen.values("Cookie") for seen in replica.seen] == [[], []]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_redirect_is_an_answer_and_not_followed(upstreams: Start, allowed: bool) -> None:
    replica = upstreams(say(answer(b"", b"Location: /api/cars/2", status=b"302 Found")))
    got = session(replica).get(URL, allow_redirects=allowed)
    assert (got.status_code, got.headers["Location"], got.history) == (302, "/api/cars/2", [])
    assert len(replica.seen) == 1


# ── what comes back ───────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_one_of_requests(upstreams: Start) -> None:
    raw = answer(b'{"a": "\xc3\xa4"}', b"Content-Type: application/json", b"X: 1", b"x: 2", status=b"404 Not There")
    got = session(upstreams(say(raw))).get(URL)
    assert (got.status_code, got.reason, got.url, got.headers["X"]) == (404, "Not There", URL, "1, 2")
    assert got.json() == {"a": "ä"}
    with pytest.raises(requests.HTTPError):
        got.raise_for_status()


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_a_compressed_answer_is_decoded(upstreams: Start, coding: bytes) -> None:
    text = b"text " * 20_000
    packed = gzip.compress(text[:100]) + gzip.compress(text[100:]) if coding == b"gzip" else zlib.compress(text)
    replica = upstreams(say(answer(packed, b"Content-Encoding: " + coding)))
    got = session(replica).get(URL, headers={"Accept-Encoding": "gzip, deflate"})
    assert got.content == text
    assert replica.seen[0].values("Accept-Encoding") == ["gzip, deflate"]


@pytest.mark.parametrize(
    ("packed", "coding"),
    [(gzip.compress(b"text" * 99)[:-9], b"gzip"), (b"plain", b"gzip"), (b"x", b"br")],
)
def test_an_answer_that_cannot_be_decoded_is_an_error(upstreams: Start, packed: bytes, coding: bytes) -> None:
    with pytest.raises(exceptions.ContentDecodingError):
        session(upstreams(say(answer(packed, b"Content-Encoding: " + coding)))).get(URL)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_answer_without_a_body_needs_no_decoding(upstreams: Start, method: str) -> None:
    head = b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n"
    assert session(upstreams(say(head))).request(method, URL).content == b""


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_larger_than_the_bound_is_an_error_and_its_place_is_free_again(
    upstreams: Start, packed: bool
) -> None:
    body = b" " * 100_001
    large = answer(gzip.compress(body), b"Content-Encoding: gzip") if packed else answer(body)
    replica = upstreams(say(large))
    cars, held = session(replica, concurrency=1, waiting=0), []
    for _ in range(3):
        with pytest.raises(AnswerTooLarge, match="larger than 100000 bytes") as error:
            cars.get(URL)
        held.append(error)  # as a log handler may, with all that its traceback refers to
    replica.respond = say(answer(body[1:]))
    assert cars.get(URL).content == body[1:]


def test_a_bomb_is_not_unpacked_beyond_the_bound(upstreams: Start) -> None:
    packer, bomb = zlib.compressobj(9), b""
    for _ in range(200):
        bomb += packer.compress(bytes(1_000_000))
    bomb += packer.flush()
    with in_time(), pytest.raises(AnswerTooLarge):
        session(upstreams(say(answer(bomb, b"Content-Encoding: deflate")))).get(URL)


def test_a_body_that_is_streamed_is_read_piece_by_piece_and_bounded(upstreams: Start) -> None:
    cars = session(upstreams(say(answer(b"x" * 100_000))), concurrency=1, waiting=0)
    with cars.get(URL, stream=True) as got:
        assert len(next(got.iter_content(1000))) == 1000
        with pytest.raises(Busy):
            cars.get(URL)
    assert cars.get(URL).content == b"x" * 100_000


def test_an_answer_that_is_dropped_unread_gives_its_place_back(upstreams: Start) -> None:
    cars = session(upstreams(say(answer(b"x" * 90_000))), concurrency=1, waiting=0)
    for _ in range(3):
        assert cars.get(URL, stream=True).status_code == 200


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"nonsense\r\n\r\n", requests.ConnectionError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10, exceptions.ChunkedEncodingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n", exceptions.ChunkedEncodingError),
    ],
)
def test_what_is_no_answer_or_half_of_one_is_an_error(upstreams: Start, raw: bytes, error: Any) -> None:
    def half(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_RDWR)

    with pytest.raises(error):
        session(upstreams(half)).get(URL)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────


BRIEF = round(0.3 * TIME_FACTOR, 3)  # seconds, as X-Deadline has them: long enough to send a request on a busy machine


@pytest.mark.parametrize("timeout", [BRIEF, (BRIEF / 3, BRIEF * 2 / 3), (None, 0.0), None])
def test_a_hung_service_is_a_timeout_at_the_deadline_which_there_always_is(upstreams: Start, timeout: Any) -> None:
    replica = upstreams(hang)
    with in_time(), pytest.raises(requests.ReadTimeout):
        session(replica, total=BRIEF).get(URL, timeout=timeout)
    assert 0.0 < float(replica.seen[0].values("X-Deadline")[0]) <= BRIEF


def test_a_service_that_sends_a_byte_now_and_then_is_a_timeout_too(upstreams: Start) -> None:
    def trickle(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            sock.sendall(b" ")
            threading.Event().wait(0.05)

    with in_time(), pytest.raises(requests.ReadTimeout):
        session(upstreams(trickle), body=3600.0).get(URL, timeout=BRIEF)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), (1, float("inf")), "1", (1, 2, 3)])
def test_a_timeout_that_never_ends_or_is_no_number_is_refused(upstreams: Start, timeout: Any) -> None:
    replica = upstreams()
    with pytest.raises(ValueError, match="timeout"):
        session(replica).get(URL, timeout=timeout)
    assert replica.seen == []


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_call_without_time_is_a_timeout_and_not_sent(upstreams: Start, timeout: float) -> None:
    replica = upstreams()
    with pytest.raises(requests.ConnectTimeout, match="no time left"):
        session(replica).get(URL, timeout=timeout)
    assert replica.seen == []


def test_a_very_long_timeout_fits_the_header(upstreams: Start) -> None:
    replica = upstreams()
    assert session(replica).get(URL, timeout=1e9).status_code == 200
    assert float(replica.seen[0].values("X-Deadline")[0]) <= 3600


def test_a_call_waits_no_longer_than_the_caller_of_its_caller(upstreams: Start) -> None:
    replica = upstreams(hang)

    def view(_request: HttpRequest) -> HttpResponse:
        with in_time(), pytest.raises(requests.Timeout):
            session(replica).get(URL, timeout=60 * TIME_FACTOR)
        return HttpResponse()

    DeadlineMiddleware(view)(RequestFactory().get("/", headers={"X-Deadline": f"{BRIEF:.1f}"}))
    assert 0.0 < float(replica.seen[0].values("X-Deadline")[0]) <= round(BRIEF, 1)


# ── breaker, bulkhead, replicas ───────────────────────────────────────────────────────────────────


def test_after_a_few_failures_the_breaker_is_open_and_nothing_is_sent(upstreams: Start) -> None:
    replica = upstreams(close)
    cars = session(replica, failures=4, rest=600.0)
    for _ in range(4):
        with pytest.raises(requests.ConnectionError):
            cars.post(URL)
    with in_time(), pytest.raises(BreakerOpen, match="does not answer at the moment"):
        cars.get(URL, timeout=60)
    assert len(replica.seen) == 4


def test_a_full_bulkhead_is_busy_and_nothing_is_sent(upstreams: Start) -> None:
    replica = upstreams(hang)
    cars = session(replica, concurrency=1, waiting=0, patience=0.1, total=60.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cars.get, URL)
        eventually(lambda: replica.seen)
        with in_time(), pytest.raises(Busy, match="is busy"):
            cars.get(URL)
        replica.drop_connections()
        assert isinstance(first.exception(5 * TIME_FACTOR), requests.ConnectionError)
    assert len(replica.seen) == 1


@pytest.mark.parametrize("fault", [close, hang])
def test_a_read_that_a_replica_drops_or_hangs_on_is_asked_of_another_one(upstreams: Start, fault: Any) -> None:
    bad, good = upstreams(fault), upstreams()
    cars = session(bad, good, attempt=0.5 * TIME_FACTOR)
    assert Counter(cars.get(URL).status_code for _ in range(8)) == {200: 8}
    assert len(bad.seen) <= 1, "a replica that failed is not avoided"


@pytest.mark.parametrize(("fault", "error"), [(close, requests.ConnectionError), (hang, requests.ReadTimeout)])
def test_a_write_is_never_sent_twice(upstreams: Start, fault: Any, error: Any) -> None:
    replicas = [upstreams(fault) for _ in range(3)]
    with pytest.raises(error):
        session(*replicas, total=BRIEF).post(URL, json={})
    assert sum(len(replica.seen) for replica in replicas) == 1


def test_a_dead_service_is_a_connection_error(upstreams: Start) -> None:
    replica = upstreams()
    replica.close()
    with pytest.raises(requests.ConnectionError):
        session(replica).get(URL)


def test_a_new_connection_is_probed_and_the_request_not_sent_where_nothing_comes(upstreams: Start) -> None:
    replica = upstreams(hang)
    with pytest.raises(requests.ConnectTimeout):
        session(replica, probe="/health/").post(URL, json={}, timeout=BRIEF)
    assert [seen.line for seen in replica.seen] == [b"GET /health/ HTTP/1.1"]


# ── threads and processes ─────────────────────────────────────────────────────────────────────────


def test_threads_share_a_session_and_each_gets_its_own_answer(upstreams: Start) -> None:
    replica = upstreams(lambda sock, seen: sock.sendall(answer(seen.line + seen.values("X-Number")[0].encode())))
    cars = session(replica, total=20.0)

    def ask(number: int) -> bool:
        got = cars.get(f"{URL}{number}", headers={"X-Number": str(number)}, stream=bool(number % 2))
        return got.content == b"GET /api/cars/%d HTTP/1.1%d" % (number, number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
    assert replica.connections <= 8
    assert dict(cars.headers) == {"Accept-Encoding": "identity"}
    assert len(cars.cookies) == 0


def test_a_forked_child_uses_no_connection_and_no_lock_of_its_parent(upstreams: Start) -> None:
    replica = upstreams()
    cars = session(replica, failures=1, rest=60.0)
    assert cars.get(URL).status_code == 200
    adapter = cars.get_adapter(URL)
    assert isinstance(adapter, ServiceAdapter)
    adapter.service._breaker._lock.acquire()  # as another thread of the parent would have it
    child = os.fork()
    if child == 0:
        signal.alarm(round(10 * TIME_FACTOR))  # ends a child that waits for the lock
        os._exit(0 if cars.get(URL).status_code == 200 else 1)
    adapter.service._breaker._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert cars.get(URL).status_code == 200
    assert replica.connections == 2, "one of the parent, which it still has, and one of the child"


def test_a_plain_session_takes_the_adapter_too(upstreams: Start) -> None:
    replica = upstreams()
    cars = session(replica).get_adapter(URL)
    with requests.Session() as plain:
        plain.trust_env = False
        plain.mount("http://cars/", cars)
        assert plain.get(URL, timeout=30).content == b"{}"


# ── what callers do wrong, and odd answers ────────────────────────────────────────────────────────
def test_a_header_that_cannot_be_sent_is_the_callers_error_and_opens_no_breaker(upstreams: Start) -> None:
    replica = upstreams()
    cars = session(replica, failures=1)
    for _ in range(3):
        for headers in ({"X-Name": "Łódź"}, {"X-Näme": "a"}):
            with pytest.raises(exceptions.InvalidHeader):
                cars.get(URL, headers=headers)
    assert cars.get(URL).status_code == 200


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (answer(gzip.compress(b"abc") + b"\0" * 9, b"Content-Encoding: gzip"), b"abc"),
        (answer(gzip.compress(b"abc") + b"\0", b"Content-Encoding: gzip"), b"abc"),
        (answer(gzip.compress(b"ab") + gzip.compress(b"c"), b"Content-Encoding: gzip "), b"abc"),
        (answer(zlib.compress(b"abc"), b"Content-Encoding: deflate"), b"abc"),
        (answer(zlib.compress(b"abc", wbits=-15), b"Content-Encoding: deflate"), b"abc"),
        (answer(b"abc", b"Content-Encoding:"), b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2 \r\n\r\nab", b"ab"),
        (answer(b"", b"Content-Encoding: br"), b""),
    ],
)
def test_a_valid_answer_is_read_as_requests_reads_it(upstreams: Start, sent: bytes, seen: bytes) -> None:
    assert session(upstreams(say(sent))).get(URL).content == seen


def test_a_plain_session_reads_a_redirect_that_it_cannot_decode(upstreams: Start) -> None:
    replica = upstreams(say(answer(b"abc", b"Location: /x", b"Content-Encoding: br", status=b"302 Found")))
    with requests.Session() as plain:
        plain.mount("http://cars/", session(replica).get_adapter(URL))
        with pytest.raises(exceptions.RequestException):
            plain.get(URL)


@pytest.mark.parametrize("timeout", [10**400, ()])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(upstreams: Start, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        session(upstreams()).get(URL, timeout=timeout)
