"""The load balancer's settings folder, and a second load balancer with other settings."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.probe import Probe
from support.settings import ROOT, TIME_FACTOR
from support.stack import Stack, run
from support.wait import eventually

RELOAD_SECONDS = 60.0


class Front:
    """The settings and the certificate of the running load balancer."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._folder = ROOT / "secrets" / f"lb-{stack.project}"
        self._before = {path.name: path.read_bytes() for path in self._folder.iterdir()}

    def put(self, name: str, content: bytes) -> None:
        """Replace one file atomically."""
        temporary = self._folder / f".{name}.test"
        temporary.write_bytes(content)
        temporary.chmod(0o444)
        temporary.rename(self._folder / name)

    def set(self, **settings: str) -> None:
        """Change these settings, starting from those before the test."""
        lines = dict(line.split("=", 1) for line in self._before["settings"].decode().splitlines())
        self.put("settings", "".join(f"{name}={value}\n" for name, value in (lines | settings).items()).encode())

    def restore(self) -> None:
        """Restore all files."""
        for name, content in self._before.items():
            self.put(name, content)

    def reload(self) -> tuple[int, str]:
        """Run `reload`; return its exit status and its standard error."""
        done = subprocess.run(
            ("docker", "exec", self._stack.container(self._stack.load_balancer).id, "reload"),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RELOAD_SECONDS * TIME_FACTOR, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr


def settings_file(setting: str, name: str = "lb-settings-test") -> Path:
    """Return a file with this setting, at a path that the engine can mount."""
    path = ROOT / ".scale-out" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{setting}\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Spare:
    """A second load balancer: its address, and its container."""

    address: str
    id: str
    probe: Probe

    def set(self, setting: str) -> None:
        """Let it have only this setting, and wait until it serves."""
        settings_file(setting, _SPARE)  # in place: the container has this file
        run("docker", "exec", self.id, "reload", timeout=RELOAD_SECONDS)
        eventually(
            f"the load balancer with {setting} to answer",
            lambda: self.probe.curl(f"http://{self.address}:8080/health/live", "--fail", "--header", _KNOWN_HOST),
            within=15,
        )


_KNOWN_HOST = "Host: shop.example"
_SPARE = "lb-settings-spare"


@contextmanager
def spare_front(stack: Stack, probe: Probe) -> Iterator[Spare]:
    """Yield a second, unpublished load balancer."""
    settings = settings_file("LB_UPSTREAMS=web=1", _SPARE)
    options = ("--detach", "--no-deps", "--volume", f"{settings}:/etc/lb/settings:ro")
    identifier = stack.compose("run", *options, stack.load_balancer).split()[-1]
    try:
        template = "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}} {{end}}"
        networks = run("docker", "inspect", "--format", template, identifier).split()
        address = next(word.partition("=")[2] for word in networks if word.startswith(f"{stack.project}_front="))
        eventually(
            "the second load balancer to answer",
            lambda: probe.curl(f"http://{address}:8080/health/live", "--fail", "--header", _KNOWN_HOST),
            within=15,
        )
        yield Spare(address, identifier, probe)
    finally:
        run("docker", "rm", "--force", identifier)
