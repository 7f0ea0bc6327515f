"""A container of our own inside the stack's networks: what an intruder in the app network could reach."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from support.settings import secret
from support.stack import Stack, run


@dataclass(frozen=True)
class Probe:
    """The tools image, idle, attached to the network `app` (and to nothing else)."""

    id: str

    @classmethod
    def start(cls, stack: Stack) -> Probe:
        """Start it. It goes by itself after an hour at the latest."""
        image = os.environ.get("TOOLS_IMAGE", f"{stack.project}-tools")
        output = run(
            "docker", "run", "--rm", "--detach", "--init", "--network", f"{stack.project}_app",
            "--label", "scale-out.tests=probe", image, "sleep", "3600",
        )  # fmt: skip
        return cls(output.split()[-1])

    def stop(self) -> None:
        """Remove it."""
        run("docker", "kill", self.id, check=False)

    def run(self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        """Run `command` in it and return its output."""
        settings = [
            word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")
        ]
        return run("docker", "exec", "-i", *settings, self.id, *command, check=check)

    def curl(self, url: str, *options: str, check: bool = True) -> str:
        """Return the body at `url`."""
        return self.run("curl", "--silent", "--show-error", "--max-time", "10", *options, url, check=check)

    def sql(
        self, host: str, database: str, role: str, query: str, *, check: bool = True, password: str = ""
    ) -> str:
        """Run `query` as `role` with its secret and return the rows, columns separated by `|`."""
        word = password or secret(f"db_{role}")
        target = f"host={host} dbname={database} user={role} connect_timeout=5 sslmode=prefer"
        command = [
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
        ]
        return self.run(
            *command, target, "--command", query, check=check, environment={"PGPASSWORD": word}
        ).strip()

    def redis(self, host: str, *command: str, password: str | None = None) -> str:
        """Run a Redis command on `host`, with its secret unless `password` says otherwise, ."""
        word = secret(host.replace("-", "_")) if password is None else password
        environment = {"REDISCLI_AUTH": word} if word else {}
        return self.run("redis-cli", "-h", host, *command, check=False, environment=environment).strip()
