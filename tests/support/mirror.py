"""A load balancer of the stack's image in front of an echo server, in a network of their own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from support.settings import ROOT
from support.stack import Stack, run
from support.wait import eventually

_MIRROR = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
SETTINGS = {"LB_METHOD": "least_conn", "LB_UPSTREAMS": "web=1", "ALLOWED_HOSTS": "", "MAX_BODY_BYTES": "1048576"}


@dataclass(frozen=True)
class Mirror:
    """The load balancer and its callers: `cdn` has the CDN's name, `other` is untrusted."""

    balancer: str
    callers: dict[str, str]  # by name: the container
    addresses: dict[str, str]
    folder: Path
    applied: dict[str, str] = field(default_factory=dict)  # the settings that are not the demo's

    def set(self, **settings: str) -> None:
        """Apply these settings to the load balancer; all others are the demo's."""
        self.applied.clear()
        self.applied.update(settings)
        _put(self.folder, settings)
        run("docker", "exec", self.balancer, "reload")

    def curl(self, caller: str, *options: str, check: bool = True, url: str = "http://balancer:8080/") -> str:
        """Return what curl prints for `caller`."""
        command = ("curl", "--silent", "--max-time", "10", *options, url)
        return run("docker", "exec", self.callers[caller], *command, check=check)

    def sent(self, caller: str, *options: str) -> dict[str, str]:
        """Return the headers that the echo server got, by name. Two of one name are an error."""
        headers: list[tuple[str, str]] = json.loads(self.curl(caller, *options))
        assert len({name for name, _ in headers}) == len(headers), headers
        return dict(headers)


def _put(folder: Path, settings: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in (SETTINGS | settings).items())
    temporary = folder / ".settings"
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o644)
    temporary.rename(folder / "settings")


@contextlib.contextmanager
def mirror(stack: Stack) -> Iterator[Mirror]:
    """Start all containers, and remove them at the end."""
    name = f"{stack.project}-mirror-{secrets.token_hex(4)}"
    tools = os.environ.get("TOOLS_IMAGE", f"{stack.project}-tools")
    folder = ROOT / ".scale-out" / name
    shutil.copytree(ROOT / "secrets" / f"lb-{stack.project}", folder)
    _put(folder, {})
    started: list[str] = []

    def start(alias: str, *arguments: str) -> str:
        common = ("docker", "run", "--detach", "--init", "--network", name, "--network-alias", alias)
        started.append(run(*common, "--label", "scale-out.tests=mirror", *arguments).split()[-1])
        return started[-1]

    try:
        run("docker", "network", "create", "--internal", name)
        start("web", tools, "python3", "-c", _MIRROR)
        aliases = {"cdn": "cdn.edge", "other": "other"}
        callers = {one: start(alias, tools, "sleep", "3600") for one, alias in aliases.items()}
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        addresses = {one: run("docker", "inspect", "--format", template, it).strip() for one, it in callers.items()}
        folders = ("/tmp", "/bodies", "/run/lb")  # noqa: S108 - its own
        tmpfs = [word for path in folders for word in ("--tmpfs", f"{path}:mode=1777")]
        image = f"{stack.project}-{stack.load_balancer}"
        balancer = start("balancer", *tmpfs, "--volume", f"{folder}:/etc/lb:ro", image)
        found = Mirror(balancer, callers, addresses, folder)
        eventually("the load balancer to answer", lambda: found.curl("other", "--fail", check=False), bool, within=20)
        # The load balancer finds the CDN's address a moment later.
        eventually(
            "the CDN to be trusted",
            lambda: found.sent("cdn", "--header", "X-Forwarded-For: 203.0.113.7")["x-real-ip"],
            lambda address: address == "203.0.113.7",
            within=10,
        )
        yield found
    finally:
        with ThreadPoolExecutor(len(started) or 1) as pool:  # the command alone removes one after the other
            list(pool.map(lambda one: run("docker", "rm", "--force", one), started))
        run("docker", "network", "rm", name, check=False)
        shutil.rmtree(folder, ignore_errors=True)
