"""The running stack, through the `docker` command, as an operator uses it."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from support.settings import LOAD_BALANCERS, ROOT, TIME_FACTOR

LABEL = "com.docker.compose"
COMMAND_SECONDS = 60.0  # the default time-out of a command


class CommandError(AssertionError):
    """A command failed; the message has its output."""


def run(*command: str, timeout: float = COMMAND_SECONDS, check: bool = True, text: str | None = None) -> str:
    """Run `command` in the repository's root and return its standard output and standard error.

    `timeout` is in seconds, multiplied by TIME_FACTOR. Raises CommandError if `check` and it fails.
    """
    result = subprocess.run(
        command,
        cwd=ROOT,
        input=text if text is not None else "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout * TIME_FACTOR,
        check=False,
        env=os.environ | {"COMPOSE_ANSI": "never", "COMPOSE_PROGRESS": "quiet"},
    )
    if check and result.returncode:
        raise CommandError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout[-4000:]}")
    return result.stdout


@dataclass(frozen=True)
class Container:
    """One container of the stack, as `docker inspect` shows it."""

    details: dict[str, Any]

    @property
    def id(self) -> str:
        """The full id."""
        return str(self.details["Id"])

    @property
    def service(self) -> str:
        """The name of its service in compose.yaml."""
        return str(self.details["Config"]["Labels"][f"{LABEL}.service"])

    @property
    def name(self) -> str:
        """`<service>-<number>`, the name in X-Served-By."""
        return f"{self.service}-{self.details['Config']['Labels'][f'{LABEL}.container-number']}"

    @property
    def running(self) -> bool:
        """Whether its processes exist and are not paused."""
        return bool(self.details["State"]["Running"]) and not self.details["State"]["Paused"]

    @property
    def health(self) -> str:
        """`healthy`, `unhealthy`, `starting`, or `none` without a health check."""
        return str(self.details["State"].get("Health", {}).get("Status", "none"))

    def address(self, network: str) -> str:
        """Return its IP address in the stack's network `network`."""
        networks = self.details["NetworkSettings"]["Networks"]
        return str(next(entry["IPAddress"] for name, entry in networks.items() if name.endswith(f"_{network}")))

    def describe(self) -> str:
        """Return one line for a report."""
        state = self.details["State"]
        return f"{self.name}: {state['Status']}, {self.health}, restarts {self.details['RestartCount']}"


class Stack:
    """The running stack of this work tree."""

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """compose.yaml with this environment's settings filled in."""
        return self.configured()

    def configured(self, **environment: str) -> dict[str, Any]:
        """Return compose.yaml as Compose resolves it, with `environment` added to this one."""
        settings = [f"{name}={value}" for name, value in environment.items()]
        output = run("env", *settings, "docker", "compose", "--profile", "*", "config", "--format", "json")
        result: dict[str, Any] = json.loads(output)
        return result

    @property
    def project(self) -> str:
        """The project's name."""
        return str(self.config["name"])

    @functools.cached_property
    def load_balancer(self) -> str:
        """The running load balancer, `nginx` or `haproxy`. It must be LB if that is set."""
        found = [name for name in LOAD_BALANCERS if self.containers(name)]
        wanted = os.environ.get("LB")
        assert len(found) == 1, f"expected one load balancer of {LOAD_BALANCERS} to run, found {found}: see make up"
        assert wanted in (None, "", found[0]), f"LB={wanted}, but {found[0]} runs: make up LB={wanted}"
        return found[0]

    def compose(self, *arguments: str, timeout: float = COMMAND_SECONDS, check: bool = True) -> str:
        """Run `docker compose` with the profile of the running load balancer."""
        return run("docker", "compose", "--profile", self.load_balancer, *arguments, timeout=timeout, check=check)

    def containers(self, *services: str, stopped: bool = False) -> list[Container]:
        """Return the containers of `services`, or of all; stopped ones only if `stopped`."""
        # One-off containers (docker compose run) are not part of the stack.
        filters = [f"label={LABEL}.project={self.project}", f"label={LABEL}.oneoff=False"]
        shown = f'{{{{.ID}}}} {{{{.Label "{LABEL}.service"}}}}'
        command = ["docker", "ps", "--no-trunc", "--format", shown, *(f"--filter={one}" for one in filters)]
        rows = [line.split() for line in run(*command, *(["--all"] if stopped else [])).splitlines()]
        ids = [identifier for identifier, service in rows if not services or service in services]
        if not ids:
            return []
        # A container may be removed between the two commands: the output then has the others.
        output = run("docker", "inspect", "--format", "{{json .}}", *ids, check=False)
        found = [Container(json.loads(line)) for line in output.splitlines() if line.startswith("{")]
        return sorted(found, key=lambda one: (one.service, len(one.name), one.name))

    def container(self, service: str) -> Container:
        """Return the first container of `service`, running or not."""
        found = self.containers(service, stopped=True)
        assert found, f"{service} has no container"
        return found[0]

    def run_in(self, container: Container | str, *command: str, check: bool = True, **options: Any) -> str:
        """Run `command` in a container, or in the first of a service, and return its output."""
        target = container if isinstance(container, Container) else self.container(container)
        return run("docker", "exec", "-i", target.id, *command, check=check, **options)

    def logs(self, *services: str, tail: int = 30) -> str:
        """Return the last lines of each container's log, with the container's name."""
        lines: list[str] = []
        for one in self.containers(*services, stopped=True):
            output = run("docker", "logs", "--tail", str(tail), one.id, check=False)
            lines += [f"{one.name} | {line}" for line in output.splitlines()]
        return "\n".join(lines)

    def published(self, service: str, port: int) -> int:
        """Return the port of this machine that leads to `port` of `service`."""
        bindings = self.container(service).details["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        assert bindings, f"{service} publishes no port for {port}"
        return int(bindings[0]["HostPort"])

    def scale(self, replicas: int, service: str = "web") -> None:
        """Run `docker compose up --scale`, the command under test."""
        self.compose("up", "--detach", "--scale", f"{service}={replicas}", timeout=180)

    def signal(self, container: Container, name: str) -> None:
        """Send the signal `name` to the container's first process; KILL ends the container."""
        run("docker", "kill", "--signal", name, container.id)

    def freeze(self, container: Container) -> None:
        """Stop every process in it with SIGSTOP: the kernel accepts connections, none answers."""
        self.run_in(container, "sh", "-c", "kill -STOP -1")

    def thaw(self, container: Container) -> None:
        """Continue the processes with SIGCONT."""
        self.run_in(container, "sh", "-c", "kill -CONT -1", check=False)

    def stop(self, *services: str) -> None:
        """Stop the containers of `services` as an operator does."""
        self._each("stop", self.containers(*services))

    def kill(self, *services: str) -> None:
        """Kill the containers of `services` with SIGKILL, all at once."""
        self._each("kill", self.containers(*services))

    def pause(self, *services: str) -> None:
        """Pause the containers of `services`."""
        self._each("pause", self.containers(*services))

    def start(self, *services: str) -> None:
        """Start the stopped containers of `services`, and unpause the paused ones."""
        found = self.containers(*services, stopped=True)
        paused = [one for one in found if one.details["State"]["Paused"]]
        self._each("unpause", paused)
        for one in paused:  # otherwise it stays unhealthy until the next check, a minute later
            self.run_in(one, "rm", "-f", "/dev/shm/well")  # noqa: S108 - in the container: compose.yaml
        self._each("start", [one for one in found if not one.details["State"]["Running"]])

    def _each(self, verb: str, containers: Sequence[Container]) -> None:
        if containers:
            run("docker", verb, *(one.id for one in containers), timeout=120)

    def unhealthy(self) -> list[str]:
        """Return a line for each container that is not healthy."""
        return [
            one.describe()
            for one in self.containers(stopped=True)
            if one.service != "migrate" and (not one.running or one.health not in ("healthy", "none"))
        ]

    def replica_names(self) -> set[str]:
        """Return the names of the running web replicas, as in X-Served-By."""
        return {one.name for one in self.containers("web") if one.running}

    def report(self, services: Iterable[str] = ()) -> str:
        """Return a report for a failure: states, the load balancer's configuration, log tails."""
        lines = [one.describe() for one in self.containers(stopped=True)]
        front = self.load_balancer
        known = self.run_in(front, "sh", "-c", KNOWN[front], check=False)
        return "\n".join(
            ["containers:", *lines, f"what {front} knows of the replicas:", known, *self._remarkable(services)]
        )

    def _remarkable(self, services: Iterable[str]) -> list[str]:
        """Return each container's last log lines, without those of successful requests."""
        lines: list[str] = []
        for one in self.containers(self.load_balancer, "web", *services, stopped=True):
            output = run("docker", "logs", "--tail", "500", one.id, check=False)
            relevant = [line for line in output.splitlines() if not WELL.search(line)]
            lines += [f"log of {one.name}:", *(f"  {line[:240]}" for line in relevant[-LINES:])]
        return lines


LINES = 6  # of each container's log in a report
WELL = re.compile(r'"status": ?[234]\d\d\b')

# The commands that show each load balancer's current replicas.
KNOWN = {
    "nginx": "cat /run/lb/*.conf",
    "haproxy": "curl -s --max-time 2 http://127.0.0.1:8405/metrics | grep '^haproxy_server_status.* 1$'",
}
