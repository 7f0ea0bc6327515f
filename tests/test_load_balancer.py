"""The behaviour of both load balancers for every request."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from support.client import BROWSER, Site, headers_of, read_answer, status_of
from support.load import at_once
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

FORGED = {
    "X-Forwarded-For": "203.0.113.66",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "666",
    "X-Real-IP": "203.0.113.66",
    "Forwarded": "for=203.0.113.66;host=evil.example;proto=https",
}
MEBIBYTE = 1024 * 1024
DISCONNECTED = 15.0  # seconds until a client that never ends its headers is disconnected


def access_line(stack: Stack, identifier: str) -> dict[str, Any]:
    """Return the line that the replica wrote about the request `identifier`."""

    def look() -> dict[str, Any]:
        lines = [line.partition(" | ")[2] for line in stack.logs("web", tail=200).splitlines() if identifier in line]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return next(line for line in found if line["logger"] == "access")

    return eventually(f"a line about {identifier} in the log of web", look, within=5)


def test_the_requests_are_spread_over_all_replicas(site: Site, stack: Stack) -> None:
    wanted = stack.replica_names()
    served: Counter[str] = Counter()

    def ask() -> Counter[str]:
        served.update(answer.headers["X-Served-By"] for answer in at_once(150, 10, lambda _: site.get("/counter/")))
        return served

    # Least connections is not round robin, but no replica may starve. One that pauses for a moment
    # gets less at that moment.
    eventually(
        "a third of an equal share for each",
        ask,
        lambda seen: seen.keys() == wanted and min(seen.values()) >= seen.total() / len(wanted) / 3,
        within=10,
    )


# ── metrics stay inside ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "target",
    [
        "/metrics", "/metrics/", "/metrics?x=1", "//metrics", "/./metrics", "/x/../metrics", "/metrics//",
        "/%6detrics", "/%6D%65%74%72%69%63%73", "/%2e/metrics", "/metrics%2f", "/%2fmetrics", "/metrics;x",
        "/METRICS", "/metrics%20", "/metrics%00", "/metrics%3fx", "/metrics#x", "http://127.0.0.1/metrics",
        "/health/../metrics", "/health/..%2fmetrics", "/health/%2e%2e/metrics", "/static/../metrics",
        "\\metrics", "/metrics\\",
    ],
)  # fmt: skip
@pytest.mark.parametrize("trick", ["", "Connection: close, X-Forwarded-For\r\n", "X_Forwarded_For: 1\r\n"])
def test_metrics_are_served_in_no_spelling(site: Site, target: str, trick: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{trick or 'Connection: close' + chr(13) + chr(10)}\r\n"
    if "Connection" not in request:
        request = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    answer = site.raw(request.encode())
    # An address that is no address at all may be refused as such.
    assert status_of(answer) in (400, 404), answer[:200]
    assert b"# HELP" not in answer
    assert b"django_http" not in answer


def test_metrics_are_not_found_for_any_method(site: Site) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT"):
        assert site.request(method, "/metrics").status_code == 404, method


# ── the id of a request ───────────────────────────────────────────────────────────────────────────
def test_a_valid_request_id_is_kept_answered_and_logged(site: Site, stack: Stack) -> None:
    mine = f"test-{uuid.uuid4()}.A_b"
    answer = site.get("/counter/", headers={"X-Request-ID": mine})
    assert answer.headers["X-Request-ID"] == mine
    assert access_line(stack, mine)["path"] == "/counter/"


@pytest.mark.parametrize("bad", ["with space", "a" * 129, "semi;colon", "<script>", "", "quote'", "sl/ash"])
def test_an_invalid_request_id_is_replaced(site: Site, bad: str) -> None:
    for path in ("/counter/", "/metrics"):
        given = site.get(path, headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        assert given != bad
        assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", given), given


@pytest.mark.parametrize("path", ["/", "/counter/", "/health/live", "/metrics", "/nothing", "/static/nothing.css"])
def test_every_answer_has_exactly_one_request_id(site: Site, path: str) -> None:
    answer = site.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    ids = [value for name, value in headers_of(answer) if name == "x-request-id"]
    assert len(ids) == 1, ids
    assert ids[0]


def test_two_requests_never_get_the_same_id(site: Site) -> None:
    with site.session() as caller:
        ids = [caller.get("/health/live").headers["X-Request-ID"] for _ in range(50)]
    assert len(set(ids)) == 50


# ── who is asking ─────────────────────────────────────────────────────────────────────────────────
def test_forged_forwarding_headers_reach_neither_the_log_nor_an_answer(site: Site, stack: Stack) -> None:
    mine = uuid.uuid4().hex
    answer = site.get("/counter/", headers=FORGED | {"X-Request-ID": mine})
    assert answer.status_code == 200
    line = access_line(stack, mine)
    assert "203.0.113.66" not in json.dumps(line)
    assert re.fullmatch(r"[0-9a-f.:]+", line["client"]), line


def test_a_redirect_stays_on_the_site_that_was_asked(site: Site, product: int) -> None:
    answer = site.get(f"/products/{product}", headers=FORGED)
    assert answer.status_code in (301, 302, 308)
    assert answer.headers["Location"] in (
        f"/products/{product}/",
        f"{site.url}/products/{product}/",
    )


def test_a_page_never_repeats_a_forged_host(site: Site) -> None:
    assert "evil.example" not in site.get("/", headers=FORGED).text


# ── errors of its own ─────────────────────────────────────────────────────────────────────────────
OWN_ERRORS = [
    (404, "GET /metrics", ""),
    (405, "TRACE /", ""),
    (403, "PUT /media/incoming/1/" + "0" * 32, "Content-Length: 0\r\n"),
    (404, "GET /media/products/" + "0" * 32 + ".webp", ""),
    (413, "POST /counter/", f"Content-Length: {2 * MEBIBYTE}\r\n"),
    (414, "GET /?" + "a" * 8300, ""),
]


def own_error(site: Site, line: str, fields: str, accept: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of the answer to a request that the load balancer rejects."""
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}\r\n{fields}\r\n"
    with site.connect() as connection:
        connection.sendall(head.encode())
        answer = read_answer(connection)  # it waits for the body that it was promised before it ends the connection
    return status_of(answer), dict(headers_of(answer)), answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize(
    ("status", "line", "fields"), OWN_ERRORS, ids=[f"{one[0]} {one[1][:20]}" for one in OWN_ERRORS]
)
def test_an_error_of_its_own_is_a_page_for_a_browser_and_a_problem_for_a_program(
    site: Site, status: int, line: str, fields: str
) -> None:
    code, headers, page = own_error(site, line, fields, BROWSER)
    assert code == status
    # A target that is too long may be refused before any field is read.
    if status != 414:
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert page.startswith("<!DOCTYPE html>")
        assert f"Error {status}" in page
        assert headers["x-request-id"] in page
        assert "//" not in page, "the page names another host"
        assert headers["vary"] == "Accept"
    code, headers, text = own_error(site, line, fields, "*/*")
    assert code == status
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(text)
    assert problem["status"] == status
    assert problem["request_id"] == headers["x-request-id"]
    assert f"<p>{problem['detail']}</p>" in page or status == 414


def test_an_error_of_its_own_is_a_problem_for_a_browser_that_asks_the_api(site: Site) -> None:
    fields = f"Content-Length: {2 * MEBIBYTE}\r\n"
    _, headers, _ = own_error(site, "POST /api/orders/", fields, BROWSER)
    assert headers["content-type"] == "application/problem+json"


# ── limits ────────────────────────────────────────────────────────────────────────────────────────
def test_a_body_over_the_limit_is_refused_before_it_is_sent(site: Site) -> None:
    head = f"POST /counter/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MEBIBYTE}\r\n\r\n"
    with site.connect(10) as connection:
        connection.sendall(head.encode())
        assert status_of(connection.recv(65536)) == 413


def test_a_body_under_the_limit_is_taken(site: Site) -> None:
    assert site.post("/counter/", data=b"x" * (MEBIBYTE // 2)).status_code == 200


def test_a_chunked_body_cannot_exceed_the_limit(site: Site) -> None:
    before = site.get("/counter/").json()["count"]
    head = b"POST /counter/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with site.connect(10) as connection:
        try:
            connection.sendall(head)
            for _ in range(4 * MEBIBYTE // 0x10000):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # the load balancer may close before the end
        try:
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""
    if answer:
        assert 400 <= status_of(answer) < 500, answer[:300]
    assert site.get("/counter/").json()["count"] == before


def test_a_target_over_the_limit_is_refused(site: Site) -> None:
    answer = site.raw(f"GET /?q={'a' * 40000} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert not answer or status_of(answer) in (400, 414, 431)


def test_headers_over_the_limit_are_refused(site: Site) -> None:
    headers = "".join(f"X-Header-{n}: {'a' * 4000}\r\n" for n in range(20))
    answer = site.raw(f"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
    assert not answer or status_of(answer) in (400, 431)  # a close before the end may cost the answer


@pytest.fixture(scope="module", autouse=True)
def stalled(site: Site) -> Iterator[list[Future[bool]]]:
    """Clients that never end their headers: whether each is disconnected, while other tests run."""

    def stall(dripping: bool) -> bool:
        ends = time.monotonic() + DISCONNECTED * TIME_FACTOR
        with site.connect(30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            connection.settimeout(1.0)
            while time.monotonic() < ends:
                try:
                    if dripping:  # one byte a second keeps a time-out between two reads from ever coming
                        connection.sendall(b"X")
                    if not connection.recv(65536):
                        return True
                except TimeoutError:
                    continue
                except OSError:
                    return True
        return False

    with ThreadPoolExecutor(2) as pool:
        yield [pool.submit(stall, dripping) for dripping in (False, True)]


def test_a_client_that_never_ends_its_headers_is_disconnected(stalled: list[Future[bool]]) -> None:
    assert [one.result() for one in stalled] == [True, True]


def test_an_ambiguous_request_is_rejected(site: Site) -> None:
    before = site.get("/counter/").json()["count"]
    smuggled = b"POST /counter/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    both = (
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%b" % (5 + len(smuggled), smuggled)
    )
    twice = (
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled)
    )
    for request in (both, twice):
        answer = site.raw(request)
        assert answer.count(b"HTTP/1.1 ") <= 1, answer[:500]
    assert site.get("/counter/").json()["count"] == before


def test_an_odd_host_header_makes_no_error_of_the_server(site: Site) -> None:
    for host in ("evil.example", "localhost:99999", "a b", "a" * 300, "[::1]", "..", "%00"):
        answer = site.raw(f"GET /counter/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(answer) < 500, host


# ── connections ───────────────────────────────────────────────────────────────────────────────────
def test_the_site_answers_over_tls_with_its_certificate(secure_site: Site, site: Site) -> None:
    answer = secure_site.get("/api/products/?limit=1")
    assert answer.status_code == 200
    assert answer.json() == site.get("/api/products/?limit=1").json()
    assert secure_site.get("/metrics").status_code == 404


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_outdated_tls_is_refused(secure_site: Site, version: str) -> None:
    assert not secure_site.speaks(version)


def test_current_tls_is_spoken(secure_site: Site) -> None:
    assert secure_site.speaks("TLSv1_2")
    assert secure_site.speaks("TLSv1_3")


def test_many_requests_go_over_one_connection(site: Site) -> None:
    request = b"GET /counter/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with site.connect() as connection:
        reader = connection.makefile("rb")
        for _ in range(20):
            connection.sendall(request)
            assert reader.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert b"count" in reader.read(length)
        reader.close()


def test_the_connections_to_the_replicas_are_used_again(site: Site, stack: Stack) -> None:
    # Each connection from the load balancer is one entry of the kernel's table; a connection for
    # each request would leave hundreds behind in TIME_WAIT.
    def closed() -> set[str]:
        """Return the local ends of closed connections to a replica, in TIME_WAIT."""
        table = stack.run_in(stack.load_balancer, "cat", "/proc/net/tcp").splitlines()[1:]
        return {one[1] for one in map(str.split, table) if one[3] == "06" and one[2].endswith(":1F40")}

    before = closed()  # what other tests have left
    with site.session() as caller:
        for _ in range(300):
            assert caller.get("/health/live").status_code == 200
    new = closed() - before
    assert len(new) < 150, f"{len(new)} connections to port 8000 were closed"
