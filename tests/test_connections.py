"""Many connections, silent clients and slow bodies: the load balancer limits and outlives them."""

from __future__ import annotations

import re
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from support.client import Site, read_all, read_answer, status_of
from support.crowd import Crowd
from support.settings import TIME_FACTOR
from support.stack import Stack, run
from support.wait import eventually

BUSY, SILENT, RATE = 1000, 3000, 50.0
STEADY = 5  # seconds
PROMPT = 2.0  # seconds until a person's answer
SHARE = 0.8  # of the memory limit
MEBIBYTE = 1024 * 1024

# As in docker stats: without the page cache that the kernel can drop.
_MEMORY = """
cd /sys/fs/cgroup; [ -r memory.current ] || cd memory
still=142 # of `read` after its time without a line; it ends with the input
while [ $still -gt 128 ]; do
  awk '/^(total_)?inactive_file / { files = $2 } FNR == 1 && NF == 1 { used = $1 } END { print used - files }' \
    memory.stat "$(ls memory.current memory.usage_in_bytes 2>/dev/null)"
  read -rt 0.2; still=$?
done
"""


def direct(stack: Stack) -> Site:
    """Return the site at the load balancer's own address, past the limits of the engine's port
    proxy.
    """
    return Site(8080, host=stack.container(stack.load_balancer).address("edge"))


@pytest.fixture
def front(stack: Stack) -> Site:
    """The site at the load balancer's own address."""
    return direct(stack)


@contextmanager
def bounded(stack: Stack) -> Iterator[None]:
    """Assert that the load balancer does not restart and stays below its memory limit."""
    before = stack.container(stack.load_balancer)
    watch = subprocess.Popen(
        ("docker", "exec", "-i", before.id, "bash", "-c", _MEMORY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        after = stack.container(stack.load_balancer)
        output, _ = watch.communicate(timeout=10 * TIME_FACTOR)  # it ends with its input
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


def count(front: Site) -> int:
    """Return the counter."""
    seen = eventually("the counter", lambda: front.get("/counter/").json(), lambda body: "count" in body, within=10)
    return int(seen["count"])


def slow(front: Site, sent: int, length: int, *fields: str) -> socket.socket:
    """Begin a POST, and send `sent` bytes of its body at once."""
    connection = front.connect()
    head = ("POST /counter/ HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *fields)
    connection.sendall("".join(f"{line}\r\n" for line in (*head, "")).encode())
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


def served(stack: Stack, since: str, name: str) -> bool:
    """Return whether a replica has answered the request with this id successfully."""
    logs = [run("docker", "logs", "--since", since, one.id) for one in stack.containers("web")]
    return any(name in line and re.search(r'"status": ?2', line) for log in logs for line in log.splitlines())


# Before the crowd: while HAProxy is as busy, a replica's 400 for the rest of a large body that does
# not come can be faster than its own 408.
def test_a_body_that_stalls_gets_408_and_changes_nothing(front: Site, stack: Stack) -> None:
    since, name = datetime.now(UTC).isoformat(), uuid.uuid4().hex
    answers: dict[int, bytes] = {}
    with ExitStack() as opened:  # all at once, since each takes the load balancer's whole time-out
        bodies = {
            sent: opened.enter_context(slow(front, sent, 300_000, f"X-Request-ID: {name}-{sent}."))
            for sent in (100, 30_000, 200_000)
        }
        for sent, connection in bodies.items():
            connection.settimeout(30 * TIME_FACTOR)
            answers[sent] = read_all(connection)
    front.post("/counter/", headers={"X-Request-ID": f"{name}-whole."})
    eventually("a whole request in a replica's log", lambda: served(stack, since, f"{name}-whole."), within=10)
    for sent, answer in answers.items():
        # nginx logs its 408, and closes the connection without it.
        assert answer == b"" if stack.load_balancer == "nginx" else status_of(answer) == 408, (sent, answer)
        assert not served(stack, since, f"{name}-{sent}."), sent


def test_a_thousand_busy_and_three_thousand_silent_connections_leave_the_site_as_it_is(
    front: Site, stack: Stack
) -> None:
    with bounded(stack):
        with Crowd(front.host, busy=BUSY, rate=RATE, silent=SILENT, greeting=True) as crowd:
            eventually("all connections", lambda: crowd.connected, lambda n: n >= 0.95 * (BUSY + SILENT), within=30)
            assert set(each_second(front, STEADY)) == {200}
            assert crowd.connected >= 0.9 * (BUSY + SILENT)
            eventually("answers to the busy", lambda: crowd.answers[200], lambda n: n > RATE * STEADY, within=10)
            crowd.hurry()
            before = crowd.answers[200]
            eventually("a burst", lambda: crowd.answers[200] - before, lambda n: n > BUSY, within=60)
        assert not crowd.broken, (len(crowd.broken), crowd.broken[:5])


def test_eighty_slow_bodies_cost_no_other_caller_an_error(front: Site, stack: Stack) -> None:
    """Each sends most of a large body, then a byte a second: the limits bound all of them."""
    crowd: list[socket.socket] = []
    seen: dict[int, list[int]] = {100_000: [], 300_000: []}
    with bounded(stack):
        try:
            for _ in range(80):
                crowd.append(slow(front, 200_000, 1_048_000))
                crowd[-1].setblocking(False)

            def post() -> bool:
                """Post a body of each size, while each of the crowd sends one byte."""
                for one in crowd:
                    try:
                        one.send(b"x")
                    except OSError:
                        continue  # it was refused
                assert front.get("/counter/").status_code == 200
                assert front.post("/counter/", data=b"x" * 10_000).status_code == 200
                for size, statuses in seen.items():
                    answer = front.post("/counter/", data=b"x" * size)
                    statuses.append(answer.status_code)
                    assert answer.status_code == 200 or "Retry-After" in answer.headers, answer.text
                return all(200 in statuses for statuses in seen.values())

            eventually(f"a body of each size of {list(seen)} to be taken", post, within=20, interval=1)
        finally:
            for one in crowd:
                one.close()
    assert all(set(statuses) <= {200, 503} for statuses in seen.values()), seen


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
        answer = read_answer(connection)  # then the load balancer waits for the end of the body, which never comes
    assert status_of(answer) == 413
    assert re.search(rb"Content Too Large|Request Entity Too Large", answer)
    assert count(front) == before + 1
