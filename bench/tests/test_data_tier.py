"""The benches of the data tier ask for what there is: services, operations, baselines."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from benches import ids, pgbouncer, pool, scatter
from harness.laboratory import CLIENT, OVERRIDE, environment
from programs import ids as ids_program
from programs import pool as pool_program
from programs import scatter as scatter_program
from programs.serve import summary

ROOT = Path(__file__).resolve().parents[2]
_, _, _SERVICES = (ROOT / OVERRIDE).read_text(encoding="utf-8").partition("\nservices:\n")
SERVICES = re.findall(r"^  ([a-z0-9-]+):", _SERVICES, re.MULTILINE)
OF = {
    ids: ids_program,
    pgbouncer: pool_program,
    pool: pool_program,
    scatter: scatter_program,
}


def operations(bench: ModuleType) -> set[str]:
    """Return what a bench asks its program for."""
    if hasattr(bench, "TRIALS"):
        return {trial.operation for trial in bench.TRIALS.values()}
    return {trial.operation for group in bench.GROUPS for trial in group.trials.values()}


@pytest.mark.parametrize("bench", OF)
def test_the_program_has_every_operation_that_the_bench_asks_for(bench: ModuleType) -> None:
    assert OF[bench].__name__ == f"programs.{bench.PROGRAM}"
    assert operations(bench) <= set(OF[bench].OPERATIONS)


@pytest.mark.parametrize("bench", OF)
def test_the_services_of_a_bench_are_in_the_override(bench: ModuleType) -> None:
    assert {CLIENT, *bench.SERVICES} <= set(SERVICES)


@pytest.mark.parametrize("bench", [ids, pool, scatter])
def test_the_control_is_the_first_variant_once_more(bench: ModuleType) -> None:
    assert bench.TRIALS[bench.CONTROL] == bench.TRIALS[next(iter(bench.NAMES))]


@pytest.mark.parametrize("group", pgbouncer.GROUPS)
def test_the_control_of_a_group_is_its_baseline_once_more(group: pgbouncer.Group) -> None:
    assert group.trials[group.control] == group.trials[group.baseline]
    assert next(iter(group.all_names)) == group.baseline


def test_no_more_threads_are_asked_for_than_the_program_has() -> None:
    assert (pgbouncer.PROCESSES, pgbouncer.THREADS) == (pool_program.PROCESSES, pool_program.THREADS)


def test_the_program_is_told_which_servers_there_are() -> None:
    assert environment(scatter.SERVICES) == {
        "BENCH_MAIN": "primary",
        "BENCH_SHARDS": "shard-one shard-two shard-three",
    }
    assert environment(pgbouncer.SERVICES) == {"BENCH_MAIN": "primary standby-1", "BENCH_SHARDS": ""}


def test_connections_are_counted_by_where_they_come_from() -> None:
    answer = "172.18.0.4|pool|2048\n172.18.0.5|pool|1024\n172.18.0.4|pool|4096\n172.18.0.4|through, new|8192\n"
    assert pgbouncer.held(answer, "172.18.0.4", ["pool"]) == pgbouncer.Held(2, 3.0)
    assert pgbouncer.held(answer, "172.18.0.9", ["pool"]) == pgbouncer.Held(0, 0.0)


def test_rates_of_threads_add_up_and_times_are_put_together() -> None:
    found = summary([(2, 1.0, [1_000, 3_000]), (300, 0.5, [2_000] * 3)])
    assert found == {"count": 302, "rate": 602.0, "p50": 2.0, "p99": 3.0}
