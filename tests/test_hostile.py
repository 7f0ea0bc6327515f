"""Thousands of hostile requests: each is rejected or disconnected, most before a service."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from support.attacks import SERVICES, Attack, Attacks
from support.client import Site, read_all
from support.load import at_once
from support.probe import Probe
from support.services import Services, leftovers, register
from support.stack import Stack, run
from support.wait import eventually

CALLERS = 16
FEW = 2  # callers of the services: a gateway without a free place for one answers 503, and is right
PATIENCE = 8.0  # seconds to an answer, or to the end of the connection: the load balancers wait 5 for a body
SEED = 6
SHOWN = 12

# HTTP/0.9 has no status line, which nginx takes a line without a version for: then the problem
# tells it.
_STATUS = re.compile(rb'HTTP/1\.[01] (\d{3}) |^\{[^\r]*?"status":(\d{3})')


def statuses(answer: bytes) -> list[int]:
    """Return the status of each answer in `answer`, without 100 Continue."""
    found = [int(first or second) for first, second in _STATUS.findall(answer)]
    return [status for status in found if status != 100]


def strike(site: Site, attack: Attack) -> bytes:
    """Send it over a new connection, and return the answer."""
    with site.connect(PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):  # the other side may have heard enough; what it said is read
            connection.sendall(attack.request)
        return read_all(connection)


@pytest.fixture
def uncounted(probe: Probe) -> Iterator[None]:
    """Reset the rate limits of this machine before and after: they would hide other answers."""

    def forget() -> None:
        for key in probe.redis("redis-cache", "--scan", "--pattern", "gateway:rate:*").split():
            probe.redis("redis-cache", "DEL", key)

    forget()
    yield
    forget()


@pytest.mark.parametrize("count", [800, pytest.param(10_000, marks=pytest.mark.long)])
def test_hostile_requests_are_rejected_and_do_not_reach_the_services(
    site: Site, services: Services, stack: Stack, uncounted: None, count: int
) -> None:
    who = register(services)
    name = uuid.uuid4().hex[:12]
    attacks = list(Attacks(name, who.token, SEED).make(count))
    began = datetime.now(UTC).isoformat()
    silent: list[Attack] = []

    def one(attack: Attack) -> tuple[Attack, bytes]:
        try:
            return attack, strike(site, attack)
        except TimeoutError:
            silent.append(attack)
            return attack, b""

    edge, asked = ([one for one in attacks if one.asked is asked] for asked in (False, True))
    answers = at_once(len(edge), CALLERS, lambda number: one(edge[number]))
    answers += at_once(len(asked), FEW, lambda number: one(asked[number]))
    leftovers(services, [who])

    bad: list[str] = []
    answered: Counter[str] = Counter()
    for attack, answer in answers:
        codes = statuses(answer)
        answered[attack.family] += bool(codes)
        if not all(400 <= status < 500 and status != 429 for status in codes) or (answer and not codes):
            bad.append(f"{attack.family}: {attack.request[:300]!r}\n  -> {answer[:200]!r}")
    assert not bad, f"{len(bad)} of {count}:\n" + "\n".join(bad[:SHOWN])
    sent = Counter(attack.family for attack in attacks)
    assert all(answered[family] > count / 2 for family, count in sent.items()), (answered, sent)  # most get an answer
    assert not silent, f"{len(silent)} got no end: {[attack.request[:200] for attack in silent[:SHOWN]]}"

    def heard(word: str) -> list[str]:
        ids = [one.id for one in stack.containers(*SERVICES)]
        logs = [run("docker", "logs", "--since", began, one) for one in ids]
        return [line for log in logs for line in log.splitlines() if f"{word}-{name}" in line]

    eventually("what a service may hear to be in its log", lambda: heard("asked"), within=10)
    assert heard("edge") == []
