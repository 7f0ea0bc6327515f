"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from harness import cgroups
from harness.engine import docker
from harness.errors import BenchError

MEMORY_NEEDED = 6 * 1024**3  # bytes: a second stack beside the one that may be running


def available_memory(text: str) -> int:
    """Return the bytes of MemAvailable in the content of /proc/meminfo."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    raise BenchError("/proc/meminfo has no MemAvailable")


def check_memory() -> None:
    """Refuse to start a stack on a machine with too little free memory."""
    free = available_memory(Path("/proc/meminfo").read_text(encoding="ascii"))
    if free < MEMORY_NEEDED:
        raise BenchError(
            f"only {free / 1024**3:.1f} GB of memory are free, and a stack of the bench's own needs"
            f" {MEMORY_NEEDED / 1024**3:.0f}: run make down first"
        )


def processor(text: str) -> str:
    """Return the processor's name in the content of /proc/cpuinfo."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def facts() -> dict[str, str]:
    """Return the lines of the report that say where and when."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    engine = docker(["version", "--format", "{{.Server.Version}}"]).strip()
    compose = docker(["compose", "version", "--short"]).strip()
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Revision": os.environ.get("BENCH_REVISION") or "unknown",
        "Machine": f"{os.cpu_count()} cores ({processor(Path('/proc/cpuinfo').read_text(encoding='utf-8'))}),"
        f" {memory / 1024**3:.0f} GB",
        "Kernel": f"Linux {platform.release()}, cgroup v{cgroups.version()}",
        "Engine": f"Docker {engine}, Compose {compose}",
        "Other containers": _others(),
    }


def _others() -> str:
    """Return how many containers ran beside the bench: each may have used CPU time during it."""
    projects = docker(["ps", "--format", '{{.Label "com.docker.compose.project"}}']).splitlines()
    count = sum(1 for project in projects if project != os.environ["BENCH_PROJECT"]) - 1  # the harness itself
    return f"{count} running beside the bench's" if count > 0 else "none"
