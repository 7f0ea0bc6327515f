"""A copy of this work tree, with a stack of its own beside the one that runs."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.settings import ROOT, TIME_FACTOR

COMMAND = 60.0  # seconds for one command

# One that says which stack is meant, or is about the stack that runs.
_OF_THE_STACK = re.compile(r"COMPOSE_.*|LB|[A-Z]+_PORT|TLS_.*|WEB_REPLICAS|MAKE.*|MFLAGS")


@dataclass(frozen=True)
class Copy:
    """The copy in the folder `root`, and the settings of its stack."""

    root: Path
    settings: dict[str, str]

    def run(self, *command: str, timeout: float = COMMAND, check: bool = True) -> str:
        """Run `command` in the copy and return what it prints. `timeout` in seconds, multiplied by
        TIME_FACTOR.
        """
        kept = {name: value for name, value in os.environ.items() if not _OF_THE_STACK.fullmatch(name)}
        result = subprocess.run(
            command,
            cwd=self.root,
            env=kept | self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout * TIME_FACTOR,
            check=False,
        )
        assert not check or result.returncode == 0, f"{' '.join(command)}: {result.returncode}\n{result.stdout[-4000:]}"
        return result.stdout

    def make(self, *arguments: str, **options: Any) -> str:
        """Run make."""
        return self.run("make", "--no-print-directory", *arguments, **options)


def copy_work_tree(to: Path) -> None:
    """Copy what git has or would take of this work tree."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def free_ports(count: int) -> list[str]:
    """Return ports that nothing listens on. They are bound only minutes later, so none is of those
    that the kernel gives to connections and to the servers of other tests.
    """
    with contextlib.ExitStack() as held:
        taken: list[str] = []
        for port in random.sample(range(20000, 30000), 500):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("", port)))
                taken.append(str(port))
            if len(taken) == count:
                return taken
    raise AssertionError(f"{count} free ports from 20000 to 29999: {len(taken)} found")
