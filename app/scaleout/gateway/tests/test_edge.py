"""The whole way: raw bytes to a real gunicorn with all middlewares, and what arrives behind it."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import eventually

from scaleout.gateway.tests.test_target import HOSTILE
from scaleout.gateway.tests.upstream import OK, Seen, Upstream, hang, say

APP = Path(__file__).resolve().parents[3]
THREADS = 4
PLACES = THREADS // 2  # calls that one service may hold: on a busy machine a caller beyond them gets a 503


@dataclass
class Got:
    """An answer, as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool = True

    def values(self, name: str) -> list[str]:
        """Return the values of the header `name`."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Edge:
    """A gunicorn at `port`, in front of these services."""

    def __init__(self, port: int, users: Upstream, orders: Upstream) -> None:
        self.port, self.users, self.orders = port, users, orders

    def raw(self, sent: bytes) -> bytes:
        """Send these bytes and return everything that comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(sent)
            received = b""
            try:
                while part := sock.recv(65536):
                    received += part
            except ConnectionResetError:
                pass
            return received

    def ask(self, line: str, *lines: str, body: bytes = b"") -> Got:
        """Send a request and return its answer."""
        head = "\r\n".join([line, "Host: shop.example", "Connection: close", *lines, "", ""])
        return parse(self.raw(head.encode("latin-1") + body), line.startswith("HEAD"))


def parse(raw: bytes, head_only: bool = False) -> Got:
    """Take an answer apart, its chunks too."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    got = Got(int(first.split()[1]), [(line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in rest], body)
    if got.values("Transfer-Encoding") == ["chunked"]:
        got.body, got.whole = b"", False
        while body:
            size, _, body = body.partition(b"\r\n")
            if not size or int(size, 16) == 0:
                got.whole = size == b"0"
                break
            got.body, body = got.body + body[: int(size, 16)], body[int(size, 16) + 2 :]
    elif not head_only and got.values("Content-Length"):
        got.whole = len(body) == int(got.values("Content-Length")[0])
    return got


@contextmanager
def serving(rate: int = 1_000_000) -> Iterator[Edge]:
    """Run gunicorn with one process of four threads."""
    users, orders = Upstream(), Upstream()
    services = {"users": f"http://127.0.0.1:{users.port}", "orders": f"http://127.0.0.1:{orders.port}"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.test_settings",
            "PYTHONPATH": str(APP),
            "GATEWAY_TEST_SERVICES": json.dumps(services),
            "GATEWAY_TEST_RATE": str(rate),
            "GATEWAY_TEST_CALLER": uuid.uuid4().hex,
            "MAX_BODY_BYTES": "1000000",
            "WEB_THREADS": str(THREADS),
        }
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread",
            "--threads", str(THREADS), "--keep-alive", "75", "--no-control-socket", "--log-level", "critical",
            "scaleout.gateway.tests.edge:application",
        ]  # fmt: skip
        server = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()], stdout=subprocess.DEVNULL)
        edge = Edge(listener.getsockname()[1], users, orders)
    try:
        assert edge.ask("GET /health/live HTTP/1.1").status == 200
        yield edge
    finally:
        server.terminate()
        server.wait(30)
        users.close()
        orders.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Edge]:
    """Yield a gunicorn for all tests of this file."""
    with serving() as edge:
        yield edge


@pytest.fixture
def edge(running: Edge) -> Edge:
    """Return it, with services that answer well and remember nothing."""
    for service in (running.users, running.orders):
        service.respond = say(OK)
        service.seen.clear()
    return running


def answering(edge: Edge, raw: bytes, line: str = "GET /api/users/ HTTP/1.1", *lines: str) -> Got:
    """Return what the caller gets when the service answers these bytes."""
    edge.users.respond = say(raw)
    return edge.ask(line, *lines)


# ── requests ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "/api/users/",
        "/api/users",
        "/api/users/1?a=1&a=2&&b=%2f..%2f&c=%c3%a9&d=+&e='\"<>|{}^`\\[]&http://x//y&%&f=%zz",
        "/api/users/%c3%A9/%7euser/~user/%20+/(a)/a;b=c,d/@:8003/$&'*!|{}",
        "/api/users/?",
        "/api/users/" + "x" * 4000,
    ],
)
def test_path_and_query_arrive_byte_for_byte(edge: Edge, target: str) -> None:
    assert edge.ask(f"GET {target} HTTP/1.1").status == 200
    assert [seen.line.decode() for seen in edge.users.seen] == [f"GET {target} HTTP/1.1"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_arrives(edge: Edge, method: str) -> None:
    assert edge.ask(f"{method} /api/users/ HTTP/1.1").status == 200
    assert [seen.line.split()[0].decode() for seen in edge.users.seen] == [method]


def test_only_the_path_chooses_the_service(edge: Edge) -> None:
    for host in ("orders", "orders:8003", f"127.0.0.1:{edge.orders.port}"):
        raw = f"GET /api/users/?service=orders HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: orders\r\n"
        edge.raw(f"{raw}X-Original-URL: /api/orders/\r\nConnection: close\r\n\r\n".encode())
    assert (len(edge.users.seen), len(edge.orders.seen)) == (3, 0)
    assert edge.users.seen[0].values("Host") == ["orders"]
    assert edge.users.seen[0].values("X-Original-URL") == []


@pytest.mark.parametrize("raw", HOSTILE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hostile_target_reaches_no_service(edge: Edge, method: str, raw: str) -> None:
    answer = edge.raw(f"{method} {raw} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert not answer or 400 <= parse(answer).status < 500
    assert edge.users.seen == edge.orders.seen == []


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/orders/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: +1\r\n\r\na",
        "Content-Length: 1_0\r\n\r\naaaaaaaaaa",
        "Host: y\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
        "X: a\x00b\r\n\r\n",
        "X y: 1\r\n\r\n",
        ": 1\r\n\r\n",
        "no colon\r\n\r\n",
        "X: " + "y" * 9000 + "\r\n\r\n",
        "".join(f"X-{number}: y\r\n" for number in range(200)) + "\r\n",
    ],
)
def test_a_hostile_header_reaches_no_service_as_a_whole_request(edge: Edge, lines: str) -> None:
    answer = edge.raw(f"POST /api/users/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}".encode("latin-1"))
    assert not answer or 400 <= parse(answer).status < 500
    assert not [seen for seen in edge.users.seen if seen.complete]
    assert edge.orders.seen == []


def test_what_the_caller_says_about_itself_arrives_nowhere(edge: Edge) -> None:
    lines = ["X-User-Id: 1", "X-Staff: 1", "X_User_Id: 1", "X-Deadline: 99", "Forwarded: for=1", "Remote-User: root"]
    edge.ask("GET /api/users/ HTTP/1.1", *lines, "X-Hop: 1", "TE: trailers", "Upgrade: h2c", "Authorization: Bearer t")
    edge.ask("GET /api/users/ HTTP/1.1", "Connection: X-Hop, Authorization, X-Request-ID, X-Deadline, Host", "X-Hop: 1")
    for seen in edge.users.seen:
        names = {line.partition(b":")[0].decode().lower() for line in seen.head.split(b"\r\n")[1:]} - {""}
        assert names <= {
            "host", "x-request-id", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
            "x-deadline", "authorization", "x-hop", "traceparent",
        }  # fmt: skip
        assert {"host", "x-request-id", "x-deadline", "x-real-ip"} <= names
        assert 0 < float(seen.values("X-Deadline")[0]) <= 1.8
    assert edge.users.seen[0].values("Authorization") == ["Bearer t"]


def test_cookies_and_repeated_headers_arrive(edge: Edge) -> None:
    edge.ask(
        "GET /api/users/ HTTP/1.1",
        'Cookie: a=1; b="2"; sessionid=x; c=\xe9',
        "Accept: a",
        "Accept: b;q=0.5",
        "X-Y: \xff",
    )
    seen = edge.users.seen[0]
    assert seen.values("Cookie") == ['a=1; b="2"; sessionid=x; c=\xe9']
    assert ",".join(seen.values("Accept")).replace(" ", "") == "a,b;q=0.5"
    assert seen.values("X-Y") == ["\xff"]


def test_one_id_goes_all_the_way_and_comes_back_once(edge: Edge) -> None:
    raw = OK.replace(b"\r\n\r\n", b"\r\nX-Request-ID: other\r\n\r\n")
    got = answering(edge, raw, "GET /api/users/ HTTP/1.1", "X-Request-ID: id-7")
    assert got.values("X-Request-ID") == ["id-7"]
    assert edge.users.seen[0].values("X-Request-ID") == ["id-7"]


def test_the_trace_goes_on_with_a_span_of_the_gateways_own(edge: Edge) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    edge.ask("GET /api/users/ HTTP/1.1", f"traceparent: 00-{trace}-{span}-00", "tracestate: a=1", "tracestate: b=2")
    edge.ask("GET /api/users/ HTTP/1.1", f"traceparent: 00-{trace}-{span}-XX", "tracestate: a=1")
    followed, made = edge.users.seen
    (parent,) = followed.values("traceparent")
    assert re.fullmatch(rf"00-{trace}-(?!{span})[0-9a-f]{{16}}-00", parent)
    assert "".join(followed.values("tracestate")).replace(" ", "") == "a=1,b=2"
    (parent,) = made.values("traceparent")
    assert re.fullmatch(rf"00-(?!{trace})[0-9a-f]{{32}}-[0-9a-f]{{16}}-01", parent)
    assert made.values("tracestate") == []


def test_the_position_of_a_write_goes_both_ways(edge: Edge) -> None:
    raw = OK.replace(b"\r\n\r\n", b"\r\nX-Read-After: 0/20\r\nSet-Cookie: read_after=32; Path=/\r\n\r\n")
    got = answering(edge, raw, "POST /api/users/ HTTP/1.1", "X-Read-After: 0/10", "Cookie: read_after=16")
    assert edge.users.seen[0].values("X-Read-After") == ["0/10"]
    assert edge.users.seen[0].values("Cookie") == ["read_after=16"]
    assert (got.values("X-Read-After"), got.values("Set-Cookie")) == (["0/20"], ["read_after=32; Path=/"])


BINARY = bytes(range(256)) * 3000


def test_a_body_arrives_unchanged_with_its_length(edge: Edge) -> None:
    line = f"POST /api/users/ HTTP/1.1\r\nContent-Length: {len(BINARY)}"
    assert edge.ask(line, "Content-Type: image/x-odd; a=b", "Content-Encoding: odd", body=BINARY).status == 200
    seen = edge.users.seen[0]
    assert seen.body == BINARY
    assert seen.values("Content-Type") == ["image/x-odd; a=b"]
    assert (seen.values("Content-Length"), seen.values("Transfer-Encoding")) == ([str(len(BINARY))], [])


def test_a_chunked_body_arrives_unchanged(edge: Edge) -> None:
    pieces = [BINARY[at : at + size] for at, size in ((0, 1), (1, 70_000), (70_001, len(BINARY)))]
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: 1\r\n\r\n"
    assert edge.ask("POST /api/users/ HTTP/1.1", "Transfer-Encoding: chunked", body=body).status == 200
    assert (edge.users.seen[0].body, edge.users.seen[0].complete) == (BINARY, True)


def test_an_empty_body_stays_one(edge: Edge) -> None:
    edge.ask("POST /api/users/ HTTP/1.1", "Content-Length: 0")
    edge.ask("POST /api/users/ HTTP/1.1")
    assert [seen.values("Content-Length") for seen in edge.users.seen] == [["0"], []]


def test_callers_whose_bodies_do_not_come_get_an_error_and_open_no_breaker(edge: Edge) -> None:
    line = b"POST /api/users/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda _: parse(edge.raw(line)).status, range(4)))  # as many failures as open the breaker
    assert got == [400] * 4
    assert edge.ask("GET /api/users/ HTTP/1.1").status == 200


def test_callers_who_do_not_take_their_answers_hold_no_place_for_long(edge: Edge) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
    edge.users.respond = lambda sock, seen: sock.sendall(answer if b"big" in seen.line else OK)
    with ExitStack() as stack:
        for _ in range(PLACES):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 10))
            sock.sendall(b"GET /api/users/big HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: edge.ask("GET /api/users/ HTTP/1.1").status == 503, 2)
        eventually(lambda: edge.ask("GET /api/users/ HTTP/1.1").status == 200, 5)


def test_a_body_that_is_too_large_is_413_and_is_not_sent(edge: Edge) -> None:
    got = edge.ask("POST /api/users/ HTTP/1.1", "Content-Length: 1000001", body=b"x" * 1_000_001)
    assert (got.status, got.values("Content-Type")) == (413, ["application/problem+json"])
    assert edge.users.seen == []


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def test_several_cookies_stay_several_and_headers_keep_their_bytes(edge: Edge) -> None:
    cookies = [f"c{number}=v; Path=/; Expires=Wed, 21 Oct 2099 07:28:00 GMT; HttpOnly" for number in range(30)]
    more = [f"X-{number}: caf\xe9" for number in range(30)]
    head = "\r\n".join(["HTTP/1.1 200 OK", *(f"Set-Cookie: {one}" for one in cookies), *more, "Link: <a>", "Link: <b>"])
    got = answering(edge, f"{head}\r\nContent-Length: 2\r\n\r\n{{}}".encode("latin-1"))
    assert got.values("Set-Cookie") == cookies
    assert [got.values(f"X-{number}") for number in range(30)] == [["caf\xe9"]] * 30
    assert got.values("Link") == ["<a>", "<b>"]
    assert got.values("Content-Type") == [], "the service has named none"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_passed_on_and_not_followed(edge: Edge, status: int) -> None:
    where = f"http://127.0.0.1:{edge.orders.port}/api/orders/"
    got = answering(edge, f"HTTP/1.1 {status} X\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())
    assert (got.status, got.values("Location")) == (status, [where])
    assert (len(edge.users.seen), edge.orders.seen) == (1, [])


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [(200, "text/csv", b"a,b\n"), (404, "text/plain", b"no such"), (422, "application/problem+json", b'{"own":1}'),
     (500, "text/html", b"<p>oops"), (418, "image/png", b"\x89PNG\r\n\x00"), (503, "text/plain", b"")],
)  # fmt: skip
def test_an_answer_of_any_kind_and_status_is_the_services_own(edge: Edge, status: int, kind: str, body: bytes) -> None:
    head = (
        f"HTTP/1.1 {status} My Words\r\nContent-Type: {kind}\r\nRetry-After: 9\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    got = answering(edge, head.encode() + body)
    assert (got.status, got.values("Content-Type"), got.body) == (status, [kind], body)
    assert got.values("Retry-After") == ["9"]


def test_a_503_without_retry_after_gets_none_on_its_way(edge: Edge) -> None:
    got = answering(edge, b"HTTP/1.1 503 X\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}")
    assert (got.status, got.body, got.values("Retry-After")) == (503, b"{}", [])
    assert len(edge.users.seen) == 1


def test_binary_chunked_and_unbounded_bodies_come_back_unchanged(edge: Edge) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BINARY[:1], BINARY[1:65_537], BINARY[65_537:]))
    kinds = [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: odd\r\nContent-Length: %d\r\n\r\n%b" % (len(BINARY), BINARY),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-T: 1\r\n\r\n",
    ]
    for raw in kinds:
        got = answering(edge, raw)
        assert (got.body, got.whole) == (BINARY, True)

    def until_closed(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + BINARY)
        sock.shutdown(socket.SHUT_RDWR)

    edge.users.respond = until_closed
    assert edge.ask("GET /api/users/ HTTP/1.1").body == BINARY


@pytest.mark.parametrize(
    ("line", "raw", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", ["12345"]),
        ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n", ["99"]),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 12345\r\n\r\n", ["12345"]),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", []),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", []),
        ("OPTIONS", b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n", []),
    ],
)
def test_answers_without_a_body_come_back_as_they_are(edge: Edge, line: str, raw: bytes, length: list[str]) -> None:
    before = edge.users.connections
    for _ in range(5):
        got = answering(edge, raw, f"{line} /api/users/ HTTP/1.1", "If-None-Match: x")
        assert got.status == int(raw.split()[1])
        assert (got.values("Content-Length"), got.values("Transfer-Encoding"), got.body) == (length, [], b"")
    assert edge.users.connections - before <= THREADS, "their connections are not used again"


def test_orders_to_the_load_balancer_and_headers_of_the_hop_do_not_come_back(edge: Edge) -> None:
    extra = (
        b"\r\nX-Accel-Redirect: /.problem\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nServer: inner\r\n\r\n"
    )
    got = answering(edge, OK.replace(b"\r\n\r\n", extra))
    assert got.status == 200
    assert got.values("X-Accel-Redirect") + got.values("X-Hop") + got.values("Keep-Alive") == []
    assert got.values("Server") == ["gunicorn"]
    assert len(got.values("Date")) == len(got.values("X-Request-ID")) == 1


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_an_answer_that_breaks_off_is_seen_to_break_off(edge: Edge, framing: str) -> None:
    def half(sock: socket.socket, _seen: Seen) -> None:
        sock.sendall(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + b"4\r\nsome\r\n")
        sock.shutdown(socket.SHUT_RDWR)

    edge.users.respond = half
    got = edge.ask("GET /api/users/ HTTP/1.1")
    assert (got.status, got.whole) == (200, False)


# ── the site ──────────────────────────────────────────────────────────────────────────────────────


def test_a_hung_service_leaves_the_rest_of_the_site_its_threads() -> None:
    with serving() as edge:

        def timed(line: str) -> tuple[int, float]:
            started = time.monotonic()
            return edge.ask(line).status, time.monotonic() - started

        edge.orders.respond = hang
        with ThreadPoolExecutor(24) as pool:
            hung = [pool.submit(timed, "POST /api/orders/ HTTP/1.1") for _ in range(12)]
            eventually(lambda: len(edge.orders.seen) == PLACES)
            others = [timed("GET /api/users/ HTTP/1.1") for _ in range(20)]
            late = [seconds for status, seconds in (future.result() for future in hung) if status == 504]
            statuses = {future.result()[0] for future in hung}
        assert statuses <= {503, 504}
        assert len(edge.orders.seen) <= 4, "the breaker has not opened"
        assert {status for status, _ in others} == {200}
        # However busy the machine is: most of them don't wait for what hangs.
        assert sorted(seconds for _, seconds in others)[15] < min(late)


def test_a_service_that_is_stopped_under_load_gives_503_until_it_is_back() -> None:
    with serving() as edge:
        port = edge.orders.port
        edge.orders.close()
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: edge.ask("GET /api/orders/ HTTP/1.1"), range(80)))
        assert {answer.status for answer in got} == {503}
        assert all(answer.values("Retry-After") for answer in got)
        again = Upstream(port=port)
        eventually(lambda: edge.ask("GET /api/orders/ HTTP/1.1").status == 200)
        assert {edge.ask("GET /api/orders/ HTTP/1.1").status for _ in range(20)} == {200}
        again.close()


def test_a_caller_over_its_quota_gets_429_with_retry_after_and_nothing_is_sent() -> None:
    with serving(rate=60) as edge:
        started = time.monotonic()
        with ThreadPoolExecutor(PLACES) as pool:
            got = list(pool.map(lambda _: edge.ask("GET /api/users/ HTTP/1.1"), range(120)))
        statuses = Counter(answer.status for answer in got)
        assert 60 <= statuses[200] <= 61 + time.monotonic() - started, "one more each second"
        assert statuses[200] + statuses[429] == 120
        assert len(edge.users.seen) == statuses[200]
        refused = edge.ask("GET /api/users/ HTTP/1.1")
        while refused.status == 200:
            refused = edge.ask("GET /api/users/ HTTP/1.1")
        assert refused.values("Content-Type") == ["application/problem+json"]
        assert refused.values("RateLimit-Policy") == ['"caller";q=60;w=60']
        assert refused.values("RateLimit") == [f'"caller";r=0;t={refused.values("Retry-After")[0]}']
        edge.users.respond = say(OK.replace(b"\r\n\r\n", b'\r\nRateLimit: "login";r=3;t=9\r\n\r\n'))

        def served() -> bool:
            got.append(edge.ask("GET /api/users/ HTTP/1.1"))
            return got[-1].status == 200

        eventually(served)
        assert got[-1].values("RateLimit")[0].endswith(', "login";r=3;t=9')


def test_a_thousand_generated_requests_get_4xx_or_what_the_service_says(edge: Edge) -> None:
    rng = random.Random(5)
    alphabet = [".", "..", "/", "//", "%2e", "%2f", "%5c", "\\", "%00", "%0d%0a", ";", "?", "#", "%", "%25", "users",
                "orders", "api", "a", "é", " ", "\t", "@", ":", "*", "http://"]  # fmt: skip

    def attack(_number: int) -> int:
        target = "/api/" * rng.randint(0, 1) + "".join(rng.choices(alphabet, k=rng.randint(1, 8)))
        answer = edge.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        return parse(answer).status if answer else 0

    with ThreadPoolExecutor(PLACES) as pool:
        statuses = Counter(pool.map(attack, range(1000)))
    assert not [status for status in statuses if status >= 500], statuses
    for service, name in ((edge.users, b"users"), (edge.orders, b"orders")):
        for seen in service.seen:
            path = seen.line.split()[1].partition(b"?")[0]
            assert path.startswith(b"/api/" + name)
            assert b".." not in path.split(b"/")
            assert b"//" not in path
