"""python3 -m harness NAME [--quick]: run a bench. scripts/bench.sh calls this."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

from harness import machine
from harness.errors import BenchError
from harness.plot import draw
from harness.result import page, result, tables, text_of
from harness.rounds import say
from harness.scene import Scene


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal the way an error does, so that the stack is removed."""
    raise SystemExit(128 + number)


def measure(name: str, *, quick: bool) -> int:
    """Run one bench and write its result. Returns 1 for a void run."""
    root = Path(os.environ["BENCH_ROOT"])
    bench = import_module(f"benches.{name}")
    scene = Scene(name, root, quick)
    say(f"{bench.ABOUT}: about {'a minute or two' if quick else f'{bench.SECONDS} s'}")
    started = time.monotonic()
    facts = machine.facts()
    comparisons = bench.measure(scene)
    voids = [reason for one in comparisons if (reason := one.void())]
    found = result(bench.ABOUT, facts, comparisons)
    results = root / "bench" / "results"
    folder = scene.scratch if quick or voids else results
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(text_of(found), encoding="utf-8")
    draw(found, folder / f"{name}.png")
    if folder == results:
        (results / "README.md").write_text(page(results), encoding="utf-8")
    print(tables(found))
    say(f"Done in {time.monotonic() - started:.0f} s: {file.relative_to(root)}, and the plot beside it")
    if quick:
        say("A quick run: for trying only, results/ is as it was.")
    for reason in voids:
        say(f"VOID: {reason}. results/ is as it was: run it again on a quiet machine.")
    return 1 if voids else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", add_help=False)
    parser.add_argument("name")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    try:
        return measure(given.name, quick=given.quick)
    except BenchError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
