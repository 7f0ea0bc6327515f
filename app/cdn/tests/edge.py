"""An edge for the tests: a real server that takes purges, and can be switched off."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "a-secret-of-the-tests"


@dataclass
class FakeEdge:
    """What was purged, in the order of the requests."""

    status: int = 200
    seconds: float = 0.0  # that it takes to answer
    heard: list[set[str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        edge = self
        self.stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PURGE(self) -> None:
                edge.stopped.wait(edge.seconds)
                if self.headers["Authorization"] == f"Bearer {SECRET}":
                    edge.heard.append(set(self.headers["Surrogate-Key"].split()))
                else:
                    edge.refused.append(self.path)
                self.send_response(edge.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def all(self) -> set[str]:
        """Return everything that was purged."""
        return set().union(*self.heard)

    def close(self) -> None:
        """End the server."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
