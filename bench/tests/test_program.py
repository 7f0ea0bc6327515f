"""A program that measures, spoken to by lines: real processes on both sides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness.errors import BenchError
from harness.program import Program

BENCH = Path(__file__).resolve().parents[1]

SERVING = f"""\
import os, sys, threading, time
sys.path.insert(0, {str(BENCH)!r})
from pathlib import Path
from programs.serve import serve
seen = Path(sys.argv[1])
lock = threading.Lock()

def who():
    with lock, seen.open("a") as file:
        file.write(f"{{os.getpid()}} {{threading.get_ident()}}\\n")
    time.sleep(0.001)
    return 3

def fails():
    raise ValueError("a query has failed")

def dies():
    os._exit(9)

serve({{"who": who, "fails": fails, "dies": dies}}, lambda: None, processes=3, threads=4)
"""


@pytest.fixture
def serving(tmp_path: Path) -> list[str]:
    (tmp_path / "serving.py").write_text(SERVING)
    return [sys.executable, str(tmp_path / "serving.py"), str(tmp_path / "seen")]


def test_each_of_the_threads_asked_for_works_and_no_other(serving: list[str], tmp_path: Path) -> None:
    with Program(serving) as program:
        assert program.operations == ["dies", "fails", "who"]
        answer = program.ask({"run": "who", "seconds": 0.2, "processes": 2, "threads": 3})
    lines = (tmp_path / "seen").read_text().splitlines()
    assert len({line.split()[0] for line in lines}) == 2
    assert len(set(lines)) == 6
    assert answer["count"] == 3 * len(lines)  # an operation says how many things it has done
    assert answer["rate"] == pytest.approx(answer["count"] / 0.2, rel=0.2)
    assert 1000 <= answer["p50"] <= answer["p99"]


def test_threads_stay_so_that_what_they_keep_is_kept(serving: list[str], tmp_path: Path) -> None:
    with Program(serving) as program:
        for _ in range(3):
            program.ask({"run": "who", "seconds": 0.02, "processes": 3, "threads": 4})
    assert len(set((tmp_path / "seen").read_text().splitlines())) == 12


def test_a_failed_operation_measures_nothing_and_the_next_one_can(serving: list[str]) -> None:
    with Program(serving) as program:
        with pytest.raises(BenchError, match="a query has failed"):
            program.ask({"run": "fails", "seconds": 0.1, "threads": 2})
        assert program.ask({"run": "who", "seconds": 0.02, "threads": 2})["count"] > 0


def test_a_load_process_that_dies_is_said(serving: list[str]) -> None:
    with Program(serving) as program, pytest.raises(BenchError, match="a process of the load has ended"):
        program.ask({"run": "dies", "seconds": 0.1})


def test_a_program_that_cannot_prepare_is_no_program(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(BENCH)!r})\n"
        "from programs.serve import serve\n"
        "serve({}, lambda: 1 / 0)\n"
    )
    with pytest.raises(BenchError, match="ended with status 1"), Program([sys.executable, "-c", script]):
        pass


def test_a_program_that_is_silent_is_given_up() -> None:
    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with pytest.raises(BenchError, match="did not answer within 0 s"), Program(silent, start=0.3):
        pass
