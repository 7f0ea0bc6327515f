"""An edge for the tests: a real server that takes purges, and can be switched off."""

from __future__ import annotations

import ipaddress
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SECRET = "a-secret-of-the-tests"


@dataclass
class FakeEdge:
    """The purged tags and URLs, in the order of the requests."""

    status: int = 200
    seconds: float = 0.0  # that it takes to answer
    patience: float | None = None  # seconds for which it keeps an idle connection
    certificate: Path | None = None  # with its key: then it speaks TLS
    heard: list[set[str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when (monotonic)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        edge = self
        self.stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = self.patience

            def do_PURGE(self) -> None:
                edge.stopped.wait(edge.seconds)
                if self.headers["Authorization"] == f"Bearer {SECRET}":
                    tags = self.headers["Surrogate-Key"]
                    edge.heard.append({f"//{self.headers['Host']}{self.path}"} if tags is None else set(tags.split()))
                    edge.times.append(time.monotonic())
                else:
                    edge.refused.append(self.path)
                self.send_response(edge.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if self.certificate is not None:
            scheme = "https"
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def all(self) -> set[str]:
        """Return everything that was purged."""
        return set().union(*self.heard)

    def close(self) -> None:
        """End the server."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def certify(file: Path) -> Path:
    """Write a certificate for 127.0.0.1 that vouches for itself, with its key, and return the
    file.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return file
