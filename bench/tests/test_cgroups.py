"""The CPU clocks, over files laid out as the kernel lays them out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import cgroups
from harness.errors import BenchError

ID = "3d2f43d310f8acdda7116629f2398cea" * 2

CPU_STAT = """\
usage_usec 4711815
user_usec 3000000
system_usec 1711815
nr_periods 0
"""


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def v1(root: Path, place: str, hierarchy: str = "cpuacct") -> None:
    put(root / hierarchy / "cpuacct.usage", "999\n")
    put(root / hierarchy / place / "cpuacct.usage", "4711815000\n")  # nanoseconds


def v2(root: Path, place: str) -> None:
    put(root / "cgroup.controllers", "cpu io memory pids\n")
    put(root / place / "cpu.stat", CPU_STAT)  # microseconds


@pytest.mark.parametrize(("version", "make"), [(1, v1), (2, v2)])
@pytest.mark.parametrize(
    "place", [f"docker/{ID}", f"system.slice/docker-{ID}.scope", f"user.slice/user-1000.slice/docker-{ID}.scope"]
)
def test_the_time_is_read_wherever_the_engine_puts_the_container(
    tmp_path: Path, version: int, make: Callable[[Path, str], None], place: str
) -> None:
    make(tmp_path, place)
    assert cgroups.clock(ID, tmp_path).microseconds() == 4_711_815
    assert cgroups.version(tmp_path) == version


def test_v1_is_found_under_its_other_name(tmp_path: Path) -> None:
    v1(tmp_path, f"docker/{ID}", hierarchy="cpu,cpuacct")
    assert cgroups.clock(ID, tmp_path).microseconds() == 4_711_815


def test_in_a_hybrid_layout_v1_counts(tmp_path: Path) -> None:
    v1(tmp_path, f"docker/{ID}")
    put(tmp_path / "unified" / "cgroup.controllers", "\n")
    assert cgroups.version(tmp_path) == 1


def test_a_container_without_a_group_is_named(tmp_path: Path) -> None:
    v2(tmp_path, "docker/another")
    with pytest.raises(BenchError, match=ID[:12]):
        cgroups.clock(ID, tmp_path)


def test_a_machine_without_control_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no control groups"):
        cgroups.version(tmp_path)


def test_a_container_that_went_away_is_an_error_not_a_zero(tmp_path: Path) -> None:
    v2(tmp_path, f"docker/{ID}")
    clock = cgroups.clock(ID, tmp_path)
    clock.file.unlink()
    with pytest.raises(BenchError, match="is gone"):
        clock.microseconds()


def test_a_cpu_stat_without_a_usage_is_refused() -> None:
    with pytest.raises(BenchError, match="usage_usec"):
        cgroups.usage_v2("nr_periods 0\n")
