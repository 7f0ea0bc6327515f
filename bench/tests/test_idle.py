"""What a container uses at rest is not a request's cost."""

from pathlib import Path

import pytest
from harness.cgroups import CpuClock
from harness.idle import Idle, at_rest
from harness.stack import Container


def container(usage: Path) -> Container:
    usage.write_text("5000000\n")
    return Container("1" * 64, "web", CpuClock(usage), {"app": "172.18.0.7"})


def test_a_container_that_does_nothing_uses_nothing(tmp_path: Path) -> None:
    one = container(tmp_path / "cpuacct.usage")
    assert at_rest([one], seconds=0.01).rates == {one.id: 0}


def test_the_part_at_rest_grows_with_the_time(tmp_path: Path) -> None:
    one = container(tmp_path / "cpuacct.usage")
    idle = Idle({one.id: 30_000})
    assert idle.part(one, 2) == 60_000
    assert idle.share(one) == pytest.approx(0.03)


def test_a_container_that_was_not_measured_at_rest_has_no_part(tmp_path: Path) -> None:
    assert Idle().part(container(tmp_path / "cpuacct.usage"), 2) == 0
