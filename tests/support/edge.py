"""The edge cache: the stack's own, and one in front of an origin that a test controls."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests

from support.client import Site
from support.settings import ROOT, secret
from support.stack import Stack, run
from support.wait import eventually

SERVICE = "cdn"
# The same options as in compose.yaml.
_OPTIONS = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--pids-limit", "512",
    "--tmpfs", "/tmp:mode=1777,size=8m", "--tmpfs", "/run/edge:mode=1777,size=128m,exec",  # noqa: S108 - its own
    "--env", "CDN_PURGE_SECRET_FILE=/run/secrets/cdn_purge",
)  # fmt: skip

# Answers with the headers (h) and the status of the query, and reports its requests. POST /down:
# 503. It has two ports, as the load balancers: the edge's health probe uses the second.
_ORIGIN = """
import json, threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
asked, down = Counter(), False

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global down
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST" and parts.path in ("/down", "/up"):
            down = parts.path == "/down"
        asked[parts.path] += 1
        heard = [[name.lower(), value] for name, value in self.headers.items()]
        said = [one.split(":", 1) for one in query.get("h", [])]
        body = json.dumps({"n": asked[parts.path], "method": self.command, "heard": heard}).encode()
        status = 503 if down and self.command != "POST" else int(query.get("status", ["200"])[0])
        tag = dict(said).get("ETag")
        if status == 200 and tag and self.headers.get("If-None-Match") == tag:
            status, body = 304, b""
        self.send_response(status)
        for name, value in said if status < 500 else []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET
    def log_message(self, *_):
        pass

ThreadingHTTPServer.request_queue_size = 128
threading.Thread(target=ThreadingHTTPServer(("", 8081), Handler).serve_forever, daemon=True).start()
ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Edge:
    """An edge: its public port and its port for purges."""

    site: Site
    inside: Site

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET over a new connection."""
        return self.site.get(path, **options)

    def purge(self, *tags: str, path: str = "/", host: str = "", word: str | None = None) -> requests.Response:
        """Purge `tags`, or without tags the URL `path` of `host` (default: the edge's own)."""
        headers = {"Authorization": f"Bearer {secret('cdn_purge') if word is None else word}"}
        headers |= {"Surrogate-Key": " ".join(tags)} if tags else {"Host": host or f"{self.site.host}:{self.site.port}"}
        return self.inside.request("PURGE", path, headers=headers)


def how(answer: requests.Response) -> str:
    """Return the edge's Cache-Status of `answer`: `hit`, `fwd=miss`, …"""
    name, _, status = answer.headers["Cache-Status"].partition("; ")
    assert name == "edge"
    return status


@contextlib.contextmanager
def in_front_of(stack: Stack) -> Iterator[Edge]:
    """Start the stack's own edge if it does not run, and remove it at the end."""
    ran = bool(stack.containers(SERVICE))
    run("docker", "compose", "--profile", SERVICE, "up", "--detach", "--build", "--wait", SERVICE, timeout=300)
    try:
        inside = Site(8081, host=stack.container(SERVICE).address("purge"))
        yield Edge(Site(stack.published(SERVICE, 8080)), inside)
    finally:
        if not ran:
            run("docker", "compose", "--profile", SERVICE, "rm", "--stop", "--force", SERVICE)


@dataclass(frozen=True)
class Origin:
    """An origin that a test controls, behind an edge of its own."""

    id: str
    edge: Edge
    edge_id: str

    def load_again(self) -> None:
        """Make the edge load its configuration again, as after a change of the origin's address."""
        admin = ("docker", "exec", self.edge_id, "varnishadm", "-t", "60", "-n", "/run/edge/varnish")
        run(*admin, "vcl.load", "again", "/etc/varnish/edge.vcl", timeout=90)
        run(*admin, "vcl.use", "again")

    def path(self, name: str, control: str = "", *, status: int = 200, **headers: str) -> str:
        """Return the path of an answer with that `Cache-Control` and these headers (`_` for
        `-`).
        """
        said = [f"{key.replace('_', '-')}:{value}" for key, value in headers.items()]
        said += [f"Cache-Control:{control}"] if control else []
        return f"/{name}?{urlencode([('status', status), *(('h', one) for one in said)])}"

    def go(self, to: str) -> None:
        """Answer 503 to all requests (`down`), or answer normally (`up`)."""
        assert self.edge.site.post(f"/{to}").status_code == 200


@contextlib.contextmanager
def with_origin(stack: Stack) -> Iterator[Origin]:
    """Start both in the network `app`, with the stack's image of the edge."""
    tools = os.environ.get("TOOLS_IMAGE", f"{stack.project}-tools")
    started: list[str] = []

    def start(*arguments: str) -> str:
        common = ("docker", "run", "--detach", "--init", "--network", f"{stack.project}_app")
        started.append(run(*common, "--label", "scale-out.tests=edge", *arguments).split()[-1])
        networks = run("docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", started[-1])
        return str(json.loads(networks)[f"{stack.project}_app"]["IPAddress"])

    try:
        origin = start(tools, "python3", "-c", _ORIGIN)
        secrets = (
            "--volume",
            f"{ROOT}/secrets/cdn_purge:/run/secrets/cdn_purge:ro",
            "--add-host",
            f"load-balancer:{origin}",
        )
        address = start(*_OPTIONS, *secrets, f"{stack.project}-varnish")
        edge = Edge(Site(8080, host=address), Site(8081, host=address))
        eventually("the edge to answer", lambda: edge.get("/ready").status_code == 200, within=30)
        yield Origin(started[0], edge, started[1])
    finally:
        run("docker", "rm", "--force", *started)
