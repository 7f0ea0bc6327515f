"""A rendered file that nginx rejects is not used. With a real nginx that includes one file."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from watcher import nginx
from watcher.__main__ import Watcher
from watcher.settings import read

CONFIGURATION = """
worker_processes 1;
pid {run}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    include {run}/replicas.conf;
    server {{
        listen unix:{run}/socket;
        return 200 $which;
    }}
}}
"""
ONE, TWO = 'map $host $which { default "one"; }\n', 'map $host $which { default "two"; }\n'
BAD = "upstream replicas { server ; }\n"
SECONDS = 30.0  # until nginx serves; it takes a moment


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /run/lb, and a `nginx` that reads the configuration of the test."""
    configuration, program = tmp_path / "nginx.conf", tmp_path / "bin" / "nginx"
    configuration.write_text(CONFIGURATION.format(run=tmp_path))
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec /usr/sbin/nginx -c {configuration} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(nginx, "RUN", tmp_path)
    monkeypatch.setattr(nginx, "CLOSING_SECONDS", 0.0)
    monkeypatch.setattr(nginx, "RELOAD_SECONDS", SECONDS)
    return tmp_path


def served(run: Path) -> str:
    """Return nginx's answer; an empty text while it does not answer yet."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(str(run / "socket"))
            client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            return b"".join(iter(lambda: client.recv(4096), b"")).decode().rpartition("\r\n")[2]
        except OSError:
            return ""


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_a_rejected_upstream_is_not_used_and_the_next_valid_one_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = Watcher(read({}), {})

    async def apply(upstream: str) -> set[int]:
        monkeypatch.setattr(watcher, "_render", lambda: {"replicas.conf": upstream})
        await watcher._apply()
        return nginx.accepting()

    async def story() -> None:
        await apply(ONE)
        await watcher._nginx.start()
        try:
            await until(lambda: served(run) == "one")
            workers = nginx.accepting()
            for _ in range(2):
                assert await apply(BAD) == workers
            assert (run / "replicas.conf").read_text() == ONE
            assert await apply(ONE) == workers, "the file is in use, so nginx is not reloaded"
            await watcher._nginx.reload()  # as for a new certificate
            assert served(run) == "one"
            await apply(TWO)
            await until(lambda: served(run) == "two")
        finally:
            watcher._nginx.quit()
            await watcher._nginx.wait()

    asyncio.run(story())
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events.count("refused") == 1, "a rejection is logged once"
