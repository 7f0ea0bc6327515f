"""Many connections, silent clients and slow bodies: the load balancer limits and outlives them."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.client import Site, read_all, status_of
from support.crowd import Crowd
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

BUSY, SILENT, RATE = 1000, 3000, 50.0
STEADY = 5  # seconds
PROMPT = 2.0  # seconds until a person's answer
SHARE = 0.8  # of the memory limit
MEBIBYTE = 1024 * 1024

# As in docker stats: without the page cache that the kernel can drop.
_MEMORY = """
cd /sys/fs/cgroup; [ -r memory.current ] || cd memory
while :; do
  awk '/^(total_)?inactive_file / { files = $2 } FNR == 1 && NF == 1 { used = $1 } END { print used - files }' \
    memory.stat "$(ls memory.current memory.usage_in_bytes 2>/dev/null)"
  sleep 0.2
done
"""


@pytest.fixture
def front(stack: Stack) -> Site:
    """The site at the load balancer's own address, past the limits of the engine's port proxy."""
    return Site(8080, host=stack.container(stack.load_balancer).address("edge"))


@contextmanager
def bounded(stack: Stack) -> Iterator[None]:
    """Assert that the load balancer does not restart and stays below its memory limit."""
    before = stack.container(stack.load_balancer)
    watch = subprocess.Popen(
        ("docker", "exec", before.id, "timeout", "120", "sh", "-c", _MEMORY), stdout=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        after = stack.container(stack.load_balancer)
        watch.terminate()
        output, _ = watch.communicate(timeout=10)
    assert after.id == before.id
    assert after.details["RestartCount"] == before.details["RestartCount"]
    assert after.details["State"]["StartedAt"] == before.details["State"]["StartedAt"]
    assert not after.details["State"]["OOMKilled"]
    used, limit = [int(line) for line in output.split()], after.details["HostConfig"]["Memory"]
    assert used, "no figure of the memory"
    print(f"memory: {max(used) / MEBIBYTE:.0f} of {limit / MEBIBYTE:.0f} MiB")
    assert max(used) <= SHARE * limit, f"{max(used) / MEBIBYTE:.0f} of {limit / MEBIBYTE:.0f} MiB"


def each_second(front: Site, seconds: float) -> Iterator[int]:
    """Yield the status of a person's request each second, which must not wait."""
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        status = front.get("/counter/", timeout=PROMPT * TIME_FACTOR).status_code
        assert time.monotonic() - begun <= PROMPT * TIME_FACTOR
        yield status
        time.sleep(max(0.0, begun + 1 - time.monotonic()))  # the pace of a person, not a wait


def test_a_thousand_busy_and_three_thousand_silent_connections_leave_the_site_as_it_is(
    front: Site, stack: Stack
) -> None:
    with bounded(stack):
        with Crowd(front.host, busy=BUSY, rate=RATE, silent=SILENT) as crowd:
            eventually("all connections", lambda: crowd.connected, lambda n: n >= 0.95 * (BUSY + SILENT), within=30)
            assert set(each_second(front, STEADY)) == {200}
            assert crowd.connected >= 0.9 * (BUSY + SILENT)
            assert crowd.answers[200] > RATE, crowd.answers
            crowd.hurry()
            before = crowd.answers.total()
            eventually("a burst", lambda: crowd.answers.total() - before, lambda n: n > BUSY, within=60)
        assert not crowd.broken, (len(crowd.broken), crowd.broken[:5])


def count(front: Site) -> int:
    """Return the counter."""
    seen = eventually("the counter", lambda: front.get("/counter/").json(), lambda body: "count" in body, within=10)
    return int(seen["count"])


def slow(front: Site, sent: int, length: int) -> socket.socket:
    """Begin a POST, and send `sent` bytes of its body at once."""
    connection = front.connect()
    connection.sendall(f"POST /counter/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
    connection.setblocking(False)
    left = sent
    end = time.monotonic() + 5 * TIME_FACTOR
    while left and time.monotonic() < end:
        try:
            left -= connection.send(b"x" * min(left, 65536))
        except BlockingIOError:
            time.sleep(0.01)  # until the deadline above
        except ConnectionError:
            break
    return connection


def test_a_body_that_stalls_gets_408_and_changes_nothing(front: Site, stack: Stack) -> None:
    before = count(front)
    with ExitStack() as opened:  # all at once, since each takes the load balancer's whole time-out
        bodies = {sent: opened.enter_context(slow(front, sent, 300_000)) for sent in (100, 30_000, 200_000)}
        for sent, connection in bodies.items():
            connection.settimeout(30 * TIME_FACTOR)
            answer = read_all(connection)
            # nginx logs its 408, and closes the connection without it.
            assert answer == b"" if stack.load_balancer == "nginx" else status_of(answer) == 408, (sent, answer)
    assert count(front) == before


@pytest.mark.parametrize("size", [100_000, 300_000])
def test_eighty_slow_bodies_cost_no_other_caller_an_error(front: Site, stack: Stack, size: int) -> None:
    """Each sends most of a large body, then a byte a second: the limits bound all of them."""
    crowd: list[socket.socket] = []
    seen: list[int] = []
    with bounded(stack):
        try:
            for _ in range(80):
                crowd.append(slow(front, 200_000, 1_048_000))
                crowd[-1].setblocking(False)

            def post() -> int:
                """Post `size` bytes, while each of the crowd sends one."""
                for one in crowd:
                    try:
                        one.send(b"x")
                    except OSError:
                        continue  # it was refused
                assert front.get("/counter/").status_code == 200
                assert front.post("/counter/", data=b"x" * 10_000).status_code == 200
                answer = front.post("/counter/", data=b"x" * size)
                seen.append(answer.status_code)
                assert answer.status_code == 200 or "Retry-After" in answer.headers, answer.text
                return answer.status_code

            eventually(f"{size} bytes to be taken", post, lambda status: status == 200, within=20, interval=1)
        finally:
            for one in crowd:
                one.close()
    assert set(seen) <= {200, 503}, seen


def test_a_chunked_body_is_accepted_up_to_the_limit(front: Site) -> None:
    before = count(front)

    def chunks(total: int) -> Iterator[bytes]:
        for _ in range(total // 50_000):
            yield b"x" * 50_000

    assert front.post("/counter/", data=chunks(900_000)).status_code == 200
    with front.connect() as connection:
        connection.sendall(b"POST /counter/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in chunks(1_100_000):
            try:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            except ConnectionError:
                break
        connection.settimeout(20 * TIME_FACTOR)
        answer = read_all(connection)
    assert status_of(answer) == 413
    assert re.search(rb"Content Too Large|Request Entity Too Large", answer)
    assert count(front) == before + 1
