"""Probes: the result for each answer, and without an answer."""

import asyncio
import socket
import time

import pytest
from watcher.network import probe, verdict
from watcher.rotation import Probe


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", Probe.GOOD),
        (b"HTTP/1.0 200 OK\r\n", Probe.GOOD),
        (b"HTTP/1.1 503 Service Unavailable\r\n", Probe.DRAINING),
        (b"HTTP/1.1 500 Internal Server Error\r\n", Probe.FAILED),
        (b"HTTP/1.1 404 Not Found\r\n", Probe.FAILED),
        (b"HTTP/1.1 200", Probe.FAILED),
        (b"SSH-2.0-OpenSSH\r\n", Probe.FAILED),
        (b"", Probe.FAILED),
    ],
)
def test_a_probe_is_judged_by_the_first_line(line: bytes, expected: Probe) -> None:
    assert verdict(line) is expected


def test_a_port_that_accepts_but_never_answers_is_slow_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = time.monotonic()
        assert asyncio.run(probe("127.0.0.1", listener.getsockname()[1], seconds=0.2)) is Probe.SLOW
        assert time.monotonic() - begun < 30.0, "the probe has no deadline"


def test_a_closed_port_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert asyncio.run(probe("127.0.0.1", port)) is Probe.FAILED
