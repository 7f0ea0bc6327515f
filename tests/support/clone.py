"""A copy of the repository's set-up, and a guard that records each change of the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.settings import ROOT, TIME_FACTOR

COMMAND_SECONDS = 60.0
PARTS = ("Makefile", ".env.example", "scripts", "compose*.yaml", "postgres/patroni.yml", "bench/benches/proxy.py")
# The allowed commands of the engine. The guard records any other one in `touched` and stops it.
GUARD = """#!/usr/bin/env bash
case "$*" in
  version* | info* | ps\\ * | "buildx version"* | "compose version"* | "image inspect"*) ;;
  "compose config"* | "compose --project-name settings --file - config"* | "compose logs"*) ;;
  *) printf '%q ' "$@" >>"{touched}" && echo >>"{touched}" && exit 97 ;;
esac
exec "{docker}" "$@"
"""


@dataclass(frozen=True)
class Clone:
    """A copy of the set-up's files with its own .env."""

    root: Path
    guard: Path

    @classmethod
    def make(cls, folder: Path) -> Clone:
        """Copy the set-up below `folder`."""
        root, guard = folder / "clone", folder / "guard"
        for part in PARTS:
            for path in ROOT.glob(part):
                target = root / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target)
                else:
                    shutil.copy(path, target)
        guard.mkdir()
        docker = shutil.which("docker")
        assert docker, "the tests need the docker command"
        (guard / "docker").write_text(GUARD.format(docker=docker, touched=guard / "touched"), encoding="utf-8")
        (guard / "docker").chmod(0o755)
        return cls(root, guard)

    def write(self, text: str, name: str = ".env") -> None:
        """Write `text` to a file of the clone."""
        (self.root / name).write_bytes(text.encode())

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `command` in the clone, with only the settings of `environment`."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "DOCKER_HOST", "LANG")}
        kept["PATH"] = f"{self.guard}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=self.root,
            env=kept | dict(environment or {}),
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS * TIME_FACTOR,
            check=False,
        )

    def bash(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `script` with the functions of scripts/lib.sh."""
        return self.run("bash", "-euo", "pipefail", "-c", f"source scripts/lib.sh; {script}", environment=environment)

    def touched(self) -> str:
        """Return the stopped commands that would have changed the engine; "" without any."""
        path = self.guard / "touched"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def files(self) -> dict[str, bytes]:
        """Return every file of the clone, and every folder as an empty one."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for path in self.root.rglob("*")
        }
