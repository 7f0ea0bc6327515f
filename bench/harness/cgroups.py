"""CPU time of a container, read from its control group: what it used, not what it was given.

cgroup v1: `cpuacct.usage`, nanoseconds. cgroup v2: `usage_usec` in `cpu.stat`, microseconds.
Sources: Linux' Documentation/admin-guide/cgroup-v1/cpuacct.rst and cgroup-v2.rst.
Both count all tasks of the group, user and kernel time, with the groups below it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError

# scripts/bench.sh mounts the host's /sys/fs/cgroup here, read-only: a container's own view shows
# itself only.
HOST_CGROUPS = Path("/host/cgroup")

# Where Docker puts a container: its cgroupfs driver, then its systemd driver.
_PLACES = ("docker/{id}", "system.slice/docker-{id}.scope")


@dataclass(frozen=True)
class CpuClock:
    """The CPU time that one container has used since it was started."""

    file: Path

    def microseconds(self) -> float:
        """Return the time; it only ever grows. Raises BenchError when the container is gone."""
        try:
            text = self.file.read_text(encoding="ascii")
        except OSError as error:
            raise BenchError(f"the container behind {self.file} is gone: {error.strerror}") from error
        return usage_v1(text) if self.file.name == "cpuacct.usage" else usage_v2(text)


def usage_v1(text: str) -> float:
    """Return the microseconds in the content of `cpuacct.usage`."""
    return int(text) / 1000


def usage_v2(text: str) -> float:
    """Return the microseconds in the content of `cpu.stat`."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return float(int(value))
    raise BenchError("cpu.stat has no usage_usec: is this cgroup v2?")


def clock(container: str, root: Path = HOST_CGROUPS) -> CpuClock:
    """Return the clock of the container with this full id."""
    hierarchy, name = _hierarchy(root)
    for place in _PLACES:
        file = hierarchy / place.format(id=container) / name
        if file.exists():
            return CpuClock(file)
    # An engine without root, or one inside a container, has its groups further down.
    for path, folders, _ in os.walk(hierarchy):
        for folder in folders:
            if container in folder and (file := Path(path, folder, name)).exists():
                return CpuClock(file)
    raise BenchError(f"container {container[:12]} has no group below {hierarchy}: is the engine on this machine?")


def version(root: Path = HOST_CGROUPS) -> int:
    """Return which version of control groups counts the CPU time: 1 or 2."""
    return 2 if _hierarchy(root)[1] == "cpu.stat" else 1


def _hierarchy(root: Path) -> tuple[Path, str]:
    """Return the folder of the hierarchy that counts CPU time, and the name of the file that holds
    it.
    """
    # With v1 and v2 together (hybrid), the controllers are in v1; so v1 is asked first.
    for name in ("cpuacct", "cpu,cpuacct"):
        if (root / name / "cpuacct.usage").exists():
            return root / name, "cpuacct.usage"
    if (root / "cgroup.controllers").exists():
        return root, "cpu.stat"
    raise BenchError(f"no control groups at {root}: the benches run on Linux, on the engine's own machine")
