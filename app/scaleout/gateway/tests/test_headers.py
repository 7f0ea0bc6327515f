"""The headers that pass between caller and service."""

from __future__ import annotations

import http.client
import io
from http.client import HTTPMessage
from typing import Any

import pytest

from scaleout.gateway.client import headers
from scaleout.gateway.client.errors import Broken
from scaleout.gateway.edge.headers import to_service

EDGE: dict[str, Any] = {
    "REMOTE_ADDR": "10.0.0.9",
    "SERVER_NAME": "web",
    "wsgi.url_scheme": "http",
    "HTTP_HOST": "shop.example",
    "HTTP_X_REAL_IP": "203.0.113.7",
    "HTTP_X_FORWARDED_FOR": "203.0.113.7",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "shop.example",
}

REQUEST = {"X-Request-ID": "id-1", "traceparent": "00-1-2-01"}


def sent(**environ: str) -> dict[str, str]:
    """Return what a service gets of a request with these entries in its environ."""
    passed = to_service(EDGE | environ, REQUEST)
    assert len({name for name, _ in passed}) == len(passed)
    return dict(passed)


def message(*lines: str) -> HTTPMessage:
    """Return the header of an answer, as http.client reads it."""
    return http.client.parse_headers(io.BytesIO("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")))


def test_what_the_load_balancer_says_of_the_caller_is_passed_on() -> None:
    assert sent() == {
        "Host": "shop.example",
        "X-Request-ID": "id-1",
        "traceparent": "00-1-2-01",
        "X-Real-Ip": "203.0.113.7",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
    }


def test_without_a_load_balancer_the_gateway_says_it() -> None:
    bare = {name: value for name, value in EDGE.items() if not name.startswith("HTTP_X_")}
    passed = dict(to_service(bare, {}))
    assert (passed["X-Real-Ip"], passed["X-Forwarded-For"], passed["X-Forwarded-Proto"]) == (
        "10.0.0.9",
        "10.0.0.9",
        "http",
    )


@pytest.mark.parametrize(
    "name",
    ["AUTHORIZATION", "COOKIE", "X_READ_AFTER", "IDEMPOTENCY_KEY", "ACCEPT_ENCODING", "IF_NONE_MATCH"],
)
def test_the_callers_own_headers_pass(name: str) -> None:
    assert sent(**{f"HTTP_{name}": "caf\xe9, b"})[name.replace("_", "-").title()] == "caf\xe9, b"


@pytest.mark.parametrize(
    "name",
    [
        "CONNECTION", "KEEP_ALIVE", "PROXY_CONNECTION", "PROXY_AUTHORIZATION", "TE", "TRAILER", "TRANSFER_ENCODING",
        "UPGRADE", "EXPECT", "X_DEADLINE", "X_REQUEST_ID", "TRACEPARENT", "TRACESTATE",
        "X_USER_ID", "X_USER", "X_AUTH_REQUEST_USER", "X_AUTHENTICATED_USER",
        "X_IDENTITY", "X_INTERNAL_TOKEN", "X_SERVICE_NAME", "X_STAFF", "REMOTE_USER", "X_REMOTE_USER", "FORWARDED",
        "X_FORWARDED_USER", "X_FORWARDED_PREFIX", "X_ORIGINAL_URL", "X_REWRITE_URL", "PROXY",
    ],
)  # fmt: skip
def test_headers_of_the_hop_of_identity_and_of_the_trace_do_not(name: str) -> None:
    assert sent(**{f"HTTP_{name}": "x"}) == sent()


def test_headers_named_in_connection_do_not_pass_either() -> None:
    assert "X-Secret" not in sent(HTTP_CONNECTION="close, x-SECRET", HTTP_X_SECRET="1")
    # As the load balancer hands it on, which has taken `Connection` for its own.
    passed = sent(HTTP_X_CONNECTION_OPTIONS="close, x-SECRET", HTTP_X_SECRET="1")
    assert not {"X-Secret", "X-Connection-Options"} & passed.keys()


def test_connection_takes_nothing_away_that_the_gateway_sets() -> None:
    named = sent(HTTP_CONNECTION="host, traceparent, x-real-ip, x-forwarded-for, x-forwarded-proto, content-length")
    assert named == sent()


def test_repeated_headers_of_an_answer_stay_repeated_and_in_order() -> None:
    passed = headers.from_service(message("Set-Cookie: a=1", "X: \xe9", "Set-Cookie: b=2; Path=/", "Link: <1>"))
    assert passed == [("Set-Cookie", "a=1"), ("X", "\xe9"), ("Set-Cookie", "b=2; Path=/"), ("Link", "<1>")]


def test_headers_of_the_hop_do_not_come_back() -> None:
    passed = headers.from_service(
        message(
            "Connection: X-Hop", "Connection: close", "X-Hop: 1", "Keep-Alive: timeout=5", "Transfer-Encoding: chunked",
            "Server: x", "Date: x", "Proxy-Authenticate: x", "Upgrade: h2c", "Trailer: x", "X-Accel-Redirect: /x",
            "ETag: x",
        )
    )  # fmt: skip
    assert passed == [("ETag", "x")]


def test_a_multipart_answer_is_no_broken_one() -> None:
    assert headers.from_service(message("Content-Type: multipart/mixed; boundary=x"))


@pytest.mark.parametrize("line", ["no colon", "X Y: 1", "X: a\r\n b", "X: \x00", "X: \x7f", ": empty"])
def test_what_is_no_header_breaks_the_answer(line: str) -> None:
    with pytest.raises(Broken):
        headers.from_service(message("A: 1", line, "Content-Length: 5"))


@pytest.mark.parametrize(
    ("lines", "length"),
    [([], None), (["Content-Length: 5"], 5), (["Content-Length: 0"], 0), (["Transfer-Encoding: Chunked"], None)],
)
def test_the_length_of_an_answer_is_declared_once(lines: list[str], length: int | None) -> None:
    assert headers.length(message(*lines)) == length


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: x"], ["Content-Length: -1"], ["Content-Length: +1"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Content-Length: 5"], ["Content-Length: 5, 5"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"], ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity"], ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ],
)  # fmt: skip
def test_an_ambiguous_length_breaks_the_answer(lines: list[str]) -> None:
    with pytest.raises(Broken):
        headers.length(message(*lines))
