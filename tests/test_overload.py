"""Under overload the site serves its capacity and rejects only the excess."""

from __future__ import annotations

import re
import time

import pytest
from support.client import Site
from support.crowd import Crowd
from support.stack import Stack
from support.wait import eventually

pytestmark = pytest.mark.failure

PATH = "/session/"
FEW, MANY = 16, 400  # callers: enough for the peak, and far more than all replicas have places for
PEAK, OVERLOAD = 8.0, 20.0  # seconds
TIMES = 4  # the peak
LEAST = 0.5  # of the peak: the callers' own work is on the same cores


@pytest.fixture
def front(broken: Stack) -> Site:
    """The site at the load balancer's own address, past the limits of the engine's port proxy."""
    return Site(8080, host=broken.container(broken.load_balancer).address("edge"))


def served(address: str, seconds: float, busy: int, rate: float = 0.0) -> Crowd:
    """Return the outcomes of `busy` callers that send requests for `seconds`."""
    with Crowd(address, PATH, busy=busy, rate=rate) as crowd:
        time.sleep(seconds)  # the load's length
    return crowd


def removals(stack: Stack) -> float:
    """Return how often the load balancer removed a replica, by its counter or log."""
    if stack.load_balancer == "nginx":
        return len(re.findall(r'"event": "replicas".*"out": \[".*\]', stack.logs("nginx", tail=20_000)))
    text = stack.run_in("haproxy", "curl", "-sS", "--max-time", "5", "http://127.0.0.1:8405/metrics")
    found = re.findall(r'^haproxy_server_check_up_down_total\{proxy="replicas",[^}]*\} (\S+)$', text, re.MULTILINE)
    assert found, text[:1000]
    return sum(map(float, found))


def test_at_four_times_the_peak_the_site_serves_its_capacity_and_rejects_the_rest_with_503(
    broken: Stack, front: Site
) -> None:
    served(front.host, 2, FEW)
    peak = served(front.host, PEAK, FEW).answers[200] / PEAK
    before = removals(broken)
    crowd = served(front.host, OVERLOAD, MANY, TIMES * peak)
    print(f"peak {peak:.0f}/s; then {crowd.answers}")
    assert not crowd.broken, (len(crowd.broken), crowd.broken[:5])
    assert set(crowd.answers) == {200, 503}, crowd.answers
    assert not crowd.bare, crowd.bare[0]
    assert crowd.answers[200] >= LEAST * peak * OVERLOAD, (peak, crowd.answers)
    assert removals(broken) == before, broken.logs(broken.load_balancer)[-3000:]
    after = served(front.host, 2, 4)
    assert set(after.answers) == {200}, after.answers


def out(stack: Stack) -> int:
    """Return the number of replicas without requests."""
    if stack.load_balancer == "nginx":
        found = re.findall(r'"event": "replicas".*"out": \[(.*)\]', stack.logs("nginx", tail=20_000))
        return len(found[-1].split(", ")) if found and found[-1] else 0
    text = stack.run_in("haproxy", "curl", "-sS", "--max-time", "5", "http://127.0.0.1:8405/metrics")
    pattern = r'^haproxy_server_status\{proxy="replicas",server="[^"]*",state="DOWN"\} 1$'
    return len(re.findall(pattern, text, re.MULTILINE))


def test_of_three_hung_replicas_at_most_one_is_removed(broken: Stack, front: Site) -> None:
    first, second, _ = broken.containers("web")
    broken.freeze(first)
    broken.freeze(second)
    eventually("one to be out", lambda: out(broken), lambda n: n == 1, within=10)
    seen = []
    for _ in range(20):
        seen.append(out(broken))
        time.sleep(0.3)  # six seconds in all: several checks of each
    # HAProxy removes a second one for the moment until it is put back.
    assert seen.count(1) > 10, seen
    broken.thaw(first)
    broken.thaw(second)


def test_a_dead_and_a_hung_replica_are_removed_during_overload_and_the_rest_serves(broken: Stack, front: Site) -> None:
    dies, hangs, _ = broken.containers("web")
    with Crowd(front.host, PATH, busy=MANY, rate=600) as crowd:
        eventually("refusals", lambda: crowd.answers[503], lambda n: n > 100, within=30)
        broken.signal(dies, "KILL")
        broken.freeze(hangs)
        time.sleep(10)  # until both are left
        before = crowd.answers[200]
        given_up = len(crowd.broken)
        eventually("answers of the one that is left", lambda: crowd.answers[200], lambda n: n > before + 100, within=20)
        assert crowd.broken[given_up:] == []
        broken.thaw(hangs)
    assert crowd.answers[502] + crowd.answers[504] <= 200, crowd.answers
