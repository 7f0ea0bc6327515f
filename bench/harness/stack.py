"""A stack of the benches' own, beside the one that `make up` started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness import cgroups
from harness.engine import docker, inspect
from harness.errors import BenchError

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"


@dataclass(frozen=True)
class Container:
    """A running container of the stack."""

    id: str
    service: str
    clock: cgroups.CpuClock
    addresses: Mapping[str, str]  # by the network's short name


@dataclass(frozen=True)
class Stack:
    """A Compose project. Its published ports are any free ones: nothing here uses them."""

    files: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    project: str = field(default_factory=lambda: os.environ["BENCH_PROJECT"])

    def compose(self, *arguments: str, timeout: float = 60) -> str:
        """Run `docker compose ARGUMENTS` for this project and return its output."""
        names = [word for file in self.files for word in ("--file", file)]
        environment = {
            "HTTP_PORT": "0",
            "HTTPS_PORT": "0",
            "PROMETHEUS_PORT": "0",
            "CDN_PORT": "0",
            "LB": "",
            "COMPOSE_PROFILES": "",
            **self.settings,
            "COMPOSE_PROJECT_NAME": self.project,
        }
        command = ["compose", "--project-name", self.project, *names, *arguments]
        return docker(command, timeout=timeout, environment=environment)

    def build(self, *services: str) -> None:
        """Build the images; what has not changed since `make up` comes from the build cache."""
        self.compose("build", "--quiet", *services, timeout=600)

    def up(self, *services: str, timeout: int = 240) -> None:
        """Start `services` and what they need, and wait until all are healthy; at most `timeout`
        seconds.
        """
        arguments = ["up", "--detach", "--wait", "--wait-timeout", str(timeout), *services]
        try:
            self.compose(*arguments, timeout=timeout + 30)
        except BenchError as error:
            raise BenchError(f"{error}\n{self._complaints()}") from error

    def _complaints(self) -> str:
        """Return the ends of the logs of the containers that are not as they should be."""
        found = []
        for facts in inspect(self.ids()):
            state = facts["State"]
            if state["ExitCode"] or state.get("Health", {}).get("Status", "healthy") != "healthy":
                log = docker(["logs", "--tail", "10", facts["Id"]], both=True)
                found.append(f"── {facts['Name'].removeprefix('/')} ({state['Status']}):\n{log.rstrip()}")
        return "\n".join(found)

    def down(self) -> None:
        """Remove containers, networks and volumes, at once."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "0", timeout=180)

    def remove_images(self) -> None:
        """Remove the images of this project; their layers stay with the stack's own images."""
        found = docker(["image", "ls", "--quiet", "--filter", f"label={PROJECT_LABEL}={self.project}"])
        if names := sorted(set(found.split())):
            docker(["image", "rm", "--force", *names], timeout=120)

    def ids(self) -> list[str]:
        """Return the ids of all containers of the project, stopped ones too."""
        label = f"label={PROJECT_LABEL}={self.project}"
        return docker(["ps", "--all", "--no-trunc", "--quiet", "--filter", label]).split()

    def containers(self) -> dict[str, list[Container]]:
        """Return the running containers by service."""
        found: dict[str, list[Container]] = {}
        for facts in inspect(self.ids()):
            if facts["State"]["Running"]:
                service = facts["Config"]["Labels"][SERVICE_LABEL]
                networks = facts["NetworkSettings"]["Networks"]
                addresses = {
                    name.removeprefix(f"{self.project}_").removeprefix("closed_"): network["IPAddress"]
                    for name, network in networks.items()
                }
                container = Container(facts["Id"], service, cgroups.clock(facts["Id"]), addresses)
                found.setdefault(service, []).append(container)
        return found
