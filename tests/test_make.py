"""Rejections by make: one line with the remedy, and no change."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import pytest
from support.settings import ROOT, TIME_FACTOR
from support.stack import Stack


def long(value: str) -> Any:
    """Return a value for make test-failure: each make takes seconds."""
    return pytest.param(value, marks=pytest.mark.long)


def refused(*command: str) -> str:
    """Run make, which must fail, and return its lines that say why."""
    result = subprocess.run(
        ["make", "--no-print-directory", *command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        timeout=120 * TIME_FACTOR,
    )
    assert result.returncode != 0, result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


@pytest.fixture
def unchanged(stack: Stack) -> object:
    """The settings and the containers, to be compared."""
    return (ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]


@pytest.mark.parametrize("name", ["HTTP_PORT", long("HTTPS_PORT"), long("PROMETHEUS_PORT")])
def test_a_port_that_is_taken_is_refused_before_anything_is_changed(stack: Stack, unchanged: object, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused("up", f"{name}={port}", f"LB={stack.load_balancer}")
    assert error == f"error: port {port} is taken: choose another one, as in: make up {name}={port + 1000}"
    assert ((ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]) == unchanged


@pytest.mark.parametrize("setting", [long("POOL_SIZE=5"), "WORKER_PROCESSES=9"])
def test_a_scale_up_that_could_need_more_connections_than_there_are_is_refused(
    stack: Stack, unchanged: object, setting: str
) -> None:
    error = refused("scale", "N=20", setting, f"LB={stack.load_balancer}")
    assert "connections to one PostgreSQL server" in error
    assert "POOL_SIZE" in error
    assert ((ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]) == unchanged


@pytest.mark.parametrize("setting", ["SERVICE_WORKERS=9", long("WORKER_PROCESSES=39"), long("POOL_SIZE=18")])
def test_the_connections_of_workers_and_services_count_too(stack: Stack, unchanged: object, setting: str) -> None:
    error = refused("up", setting, f"LB={stack.load_balancer}")
    assert "connections to one PostgreSQL server" in error
    assert ((ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]) == unchanged


def test_an_invalid_number_of_replicas_is_rejected(stack: Stack, unchanged: object) -> None:
    assert refused("scale", "N=many", f"LB={stack.load_balancer}") == "error: how many? make scale N=5"
    assert ((ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]) == unchanged


@pytest.mark.parametrize("command", ["up", "deploy"])
def test_a_wrong_setting_touches_nothing_of_a_running_stack(stack: Stack, unchanged: object, command: str) -> None:
    error = refused(command, "DEBUG=yes", f"LB={stack.load_balancer}")
    assert error == "error: environment: DEBUG=yes: must be 0 or 1"
    assert ((ROOT / ".env").read_text(encoding="utf-8"), [one.id for one in stack.containers()]) == unchanged
