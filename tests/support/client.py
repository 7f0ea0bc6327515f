"""An HTTP client of the load balancer's published ports."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import warnings
from dataclasses import dataclass
from typing import Any

import requests

from support.settings import ROOT, TIME_FACTOR

TIMEOUT = (3.0 * TIME_FACTOR, 10.0 * TIME_FACTOR)  # seconds to connect, and between two bytes of an answer
# The trusted certificate: that of the first `make up`, or your own.
CERTIFICATE = os.environ.get("TLS_CERTIFICATE") or str(ROOT / "secrets" / "tls_certificate")
BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@dataclass(frozen=True)
class Site:
    """The site at one port of this machine, or of `host`."""

    port: int
    secure: bool = False
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"

    def session(self) -> Browser:
        """Return a caller that keeps cookies and connections."""
        return Browser(self)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request over a new connection."""
        with self.session() as caller:
            return caller.request(method, path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET over a new connection."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send a POST over a new connection."""
        return self.request("POST", path, **options)

    def connect(self, timeout: float = 20.0) -> socket.socket:
        """Return an open connection for malformed requests. `timeout` in seconds."""
        connection = socket.create_connection((self.host, self.port), timeout=timeout * TIME_FACTOR)
        if not self.secure:
            return connection
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname="localhost")

    def speaks(self, version: str) -> bool:
        """Return whether a TLS handshake of exactly `version` (a name of ssl.TLSVersion)
        succeeds.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")  # the client accepts every cipher
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        try:
            with socket.create_connection((self.host, self.port), timeout=5 * TIME_FACTOR) as connection:
                context.wrap_socket(connection, server_hostname="localhost").close()
        except (ssl.SSLError, ConnectionError):
            return False
        return True

    def raw(self, request: bytes, timeout: float = 20.0) -> bytes:
        """Send `request` unchanged, and return all data until the connection ends: nothing if the
        server closes it while more of the request is on its way.
        """
        with self.connect(timeout) as connection:
            with contextlib.suppress(ConnectionError):  # the answer may have arrived
                connection.sendall(request)
            return read_all(connection)


class Browser(requests.Session):
    """A caller with cookies. It retries nothing and follows no redirect unless asked."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.trust_env = False
        self.verify = CERTIFICATE

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """Send a request to the path `url` of the site."""
        options.setdefault("timeout", TIMEOUT)
        options.setdefault("allow_redirects", False)
        address = url if str(url).startswith("http") else f"{self.site.url}{url!s}"
        return super().request(method, address, *args, **options)


def read_all(connection: socket.socket) -> bytes:
    """Read until the peer closes or resets the connection."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer: of its Content-Length, or without one until the peer ends the connection."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            if (length := dict(headers_of(head)).get("content-length")) and len(body) >= int(length):
                break
    except ConnectionError:
        pass
    return answer


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer."""
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    assert match, f"no HTTP answer: {answer[:200]!r}"
    return int(match[1])


def headers_of(answer: bytes) -> list[tuple[str, str]]:
    """Return the headers of a raw answer, names in lower case, doubles kept."""
    head = answer.split(b"\r\n\r\n", 1)[0].decode("latin-1")
    pairs = [line.partition(":") for line in head.split("\r\n")[1:]]
    return [(name.lower(), value.strip()) for name, _, value in pairs]


def assert_problem(answer: requests.Response, status: int) -> None:
    """Assert that `answer` is a problem of RFC 9457 with `status` and the id of its request."""
    assert answer.status_code == status, f"{answer.request.url}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.headers["Content-Type"]
    problem = answer.json()
    assert {"type", "title", "status", "detail", "request_id"} <= problem.keys(), problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-ID"]
