"""The load generator: its arguments, its report, and its bounds."""

from pathlib import Path

import pytest
from harness import load
from harness.cgroups import CpuClock
from harness.errors import BenchError
from harness.stack import Container

ANSWER = """\
Running 1s test @ http://172.18.0.7:8000/health/live
  1 threads and 16 connections
  1500 requests in 1.00s, 700.00KB read
Requests/sec:   1500.00

{"requests": 1500, "microseconds": 1000000, "failed": 0, "p50": 9800, "p99": 22500}
"""


def container(service: str, usage: Path) -> Container:
    return Container("1" * 64, service, CpuClock(usage), {"app": "172.18.0.7"})


def test_wrk_s_report_is_read_in_seconds_and_milliseconds() -> None:
    assert load.parse(ANSWER) == {"requests": 1500, "rate": 1500.0, "p50": 9.8, "p99": 22.5}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("unable to connect", "unable to connect"),
        ('{"requests": 10, "microseconds": 1, "failed": 3, "p50": 1, "p99": 1}', "3 of 10 requests failed"),
        ('{"requests": 0, "microseconds": 1, "failed": 0, "p50": 0, "p99": 0}', "no request was answered"),
        ('{"requests": 1000000, "microseconds": 1, "failed": 0, "p50": 1, "p99": 1}', "bound of 1000000"),
    ],
)
def test_a_run_that_did_not_go_well_measures_nothing(answer: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        load.parse(answer)


def test_only_a_container_of_the_stack_is_loaded_for_a_bounded_time(tmp_path: Path) -> None:
    one = container("web", tmp_path / "cpuacct.usage")
    command = load.Load(one, one, 8000, "/health/live", 16, 2).command()
    assert "http://172.18.0.7:8000/health/live" in command
    assert command[command.index("--duration") + 1] == "2s"
    assert command[-1] == str(load.MOST_REQUESTS)


@pytest.mark.parametrize(("connections", "seconds"), [(16, 0), (16, 31), (0, 2), (257, 2)])
def test_load_out_of_bounds_is_refused(tmp_path: Path, connections: int, seconds: int) -> None:
    one = container("web", tmp_path / "cpuacct.usage")
    with pytest.raises(ValueError, match="out of bounds"):
        load.Load(one, one, 8000, "/", connections, seconds)
