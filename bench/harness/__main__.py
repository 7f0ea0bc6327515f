"""python3 -m harness [NAME [--quick]]: run a bench, or list them. scripts/bench.sh calls this."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from benches import bulkhead, cache, edge, events, gateway, ids, pgbouncer, pool, proxy, scatter, stampede

from harness import machine
from harness.errors import BenchError
from harness.progress import say
from harness.scene import Scene

BENCHES: Mapping[str, ModuleType] = {
    "proxy": proxy,
    "pool": pool,
    "pgbouncer": pgbouncer,
    "ids": ids,
    "scatter": scatter,
    "cache": cache,
    "stampede": stampede,
    "edge": edge,
    "events": events,
    "gateway": gateway,
    "bulkhead": bulkhead,
}
EX_USAGE = 64


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal the way an error does, so that the stack is removed."""
    raise SystemExit(128 + number)


def listing() -> str:
    """Return one line for each bench."""
    return "\n".join(
        f"  {name:<10} {bench.ABOUT} (about {bench.SECONDS / 60:.0f} min)" for name, bench in BENCHES.items()
    )


def measure(name: str, *, quick: bool) -> int:
    """Run one bench and write its result. Returns 1 for a void run."""
    root = Path(os.environ["BENCH_ROOT"])
    bench = BENCHES[name]
    scene = Scene(name, root, quick)
    say(f"{bench.ABOUT}: about {'a minute or two' if quick else f'{bench.SECONDS} s'}")
    started = time.monotonic()
    facts = machine.facts()
    report = bench.measure(scene)
    counts = not (quick or report.void)
    folder = root / "bench" / "results" if counts else scene.scratch
    page = report.write(folder, name, facts)
    if counts:
        shutil.move(scene.plot, folder / f"{name}.png")
    print(page.read_text(encoding="utf-8"))
    say(f"Done in {time.monotonic() - started:.0f} s: {page.relative_to(root)}")
    if quick:
        say("A quick run: for trying only, results/ is as it was.")
    for reason in report.void:
        say(f"VOID: {reason}. results/ is as it was: run it again on a quiet machine.")
    return 1 if report.void else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", add_help=False)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if not given.name:
        print(f"Benches, as in: make bench NAME=proxy (QUICK=1 for a short run that only tries it)\n{listing()}")
        return 0
    if given.name not in BENCHES:
        say(f"error: no bench {given.name!r}; there are:\n{listing()}")
        return EX_USAGE
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
