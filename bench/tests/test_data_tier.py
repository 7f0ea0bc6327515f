"""The benches of the data tier ask for what there is: services and operations."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from benches import events, ids, pgbouncer, pool, scatter
from harness.laboratory import CLIENT, OVERRIDE
from programs import events as events_program
from programs import ids as ids_program
from programs import pool as pool_program
from programs import scatter as scatter_program
from programs.serve import summary

ROOT = Path(__file__).resolve().parents[2]
_, _, _SERVICES = (ROOT / OVERRIDE).read_text(encoding="utf-8").partition("\nservices:\n")
SERVICES = re.findall(r"^  ([a-z0-9-]+):", _SERVICES, re.MULTILINE)
OF = {
    events: events_program,
    ids: ids_program,
    pgbouncer: pool_program,
    pool: pool_program,
    scatter: scatter_program,
}


@pytest.mark.parametrize("bench", OF)
def test_the_program_has_every_operation_that_the_bench_asks_for(bench: ModuleType) -> None:
    assert OF[bench].__name__ == f"programs.{bench.PROGRAM}"
    assert set(bench.NAMES) <= set(OF[bench].OPERATIONS)


@pytest.mark.parametrize("bench", OF)
def test_the_services_of_a_bench_are_in_the_override(bench: ModuleType) -> None:
    assert {CLIENT, *bench.SERVICES} <= set(SERVICES)


def test_no_more_threads_are_asked_for_than_the_program_has() -> None:
    assert (pgbouncer.PROCESSES, pgbouncer.THREADS) == (pool_program.PROCESSES, pool_program.THREADS)


def test_rates_of_threads_add_up_and_times_are_put_together() -> None:
    found = summary([(2, 1.0, [1_000, 3_000]), (300, 0.5, [2_000] * 3)])
    assert found == {"count": 302, "rate": 602.0, "p50": 2.0, "p99": 3.0}
