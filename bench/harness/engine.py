"""The docker command, with a time-out on every call."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import BenchError


def docker(
    arguments: Sequence[str],
    *,
    timeout: float = 30,
    environment: Mapping[str, str] | None = None,
    both: bool = False,
) -> str:
    """Run `docker ARGUMENTS` and return its standard output, or `both` outputs. `timeout` in
    seconds.
    """
    command = ["docker", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"`{' '.join(command)}` did not end within {timeout:.0f} s") from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise BenchError(f"`{' '.join(command)}` failed with status {done.returncode}:\n{tail}")
    return done.stdout + done.stderr if both else done.stdout


def inspect(identifiers: Sequence[str]) -> list[Any]:
    """Return what the engine knows of these containers."""
    found: list[Any] = json.loads(docker(["container", "inspect", *identifiers])) if identifiers else []
    return found
