"""Fixtures of the live tests, and the report of the stack's state for each failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import pytest
from support.client import Site
from support.probe import Probe
from support.prometheus import Prometheus
from support.restore import assert_at_rest, restore
from support.services import Person, Services, leftovers, register
from support.services import staff as make_staff
from support.settings import WRITER
from support.stack import Stack

_stack = Stack()

# Rows that the periodic tasks of two workers delete.
_PLANTED = {
    ("shop", "shop_app"): (
        "INSERT INTO django_session (session_key, session_data, expire_date)"
        " VALUES ('tests-expired-session', '', now() - interval '1 day') ON CONFLICT DO NOTHING"
    ),
    ("users", "users_app"): (
        "INSERT INTO users_emaildirectory (email, user_id, state, created_at) VALUES"
        " ('tests-abandoned@example.org', 2048, 'pending', now() - interval '2 hours') ON CONFLICT DO NOTHING"
    ),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the current state of the stack to a failure."""
    report = yield
    if report.failed and "stack" in getattr(item, "fixturenames", ()):
        try:
            account = _stack.report()
        except Exception as error:
            account = f"no report of the stack: {error}"
        report.sections.append((f"the stack when {report.when} of {item.name} failed", account))
    return report


@pytest.fixture(scope="session", autouse=True)
def _early(request: pytest.FixtureRequest) -> None:
    """Set up early what tests of this run wait for by the clock, while other tests run."""
    markers = [marker for item in request.session.items if (marker := item.get_closest_marker("early"))]
    for name in dict.fromkeys(marker.args[0] for marker in markers):
        request.getfixturevalue(name)


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The running stack, complete and healthy at the start."""
    assert_at_rest(_stack)
    return _stack


@pytest.fixture
def broken(stack: Stack) -> Iterator[Stack]:
    """The stack for a test that breaks a part of it: restored and healthy afterwards."""
    assert_at_rest(stack)
    yield stack
    restore(stack)


@pytest.fixture(scope="session")
def site(stack: Stack) -> Site:
    """The site over http, through the running load balancer."""
    return Site(stack.published(stack.load_balancer, 8080))


@pytest.fixture(scope="session")
def secure_site(stack: Stack) -> Site:
    """The site over https."""
    return Site(stack.published(stack.load_balancer, 8443), secure=True)


@pytest.fixture(scope="session")
def prometheus(stack: Stack) -> Prometheus:
    """Prometheus's HTTP API."""
    return Prometheus(stack.published("prometheus", 9090))


@pytest.fixture(scope="session")
def probe(stack: Stack) -> Iterator[Probe]:
    """A container of the tests in the networks `app` and `front`."""
    probe = Probe.start(stack)
    yield probe
    probe.stop()


@pytest.fixture(scope="session")
def services(stack: Stack) -> Services:
    """The three services, through the load balancer and the gateway."""
    return Services.of(stack)


@pytest.fixture(scope="session")
def planted(probe: Probe) -> None:
    """Rows for the periodic tasks to delete: inserted early, since each task runs once a minute."""
    for (database, role), statement in _PLANTED.items():
        probe.sql(WRITER, database, role, statement)


@pytest.fixture
def inside(stack: Stack) -> Services:
    """Each service at its container: resolved for each test, since a restarted one may have
    moved.
    """
    return Services.inside(stack)


@pytest.fixture
def staff(stack: Stack) -> Person:
    """The demo's staff user, with a token valid for at least ten minutes."""
    return make_staff()


@pytest.fixture
def person(services: Services) -> Iterator[Callable[[], Person]]:
    """A function that registers a user, who is deleted after the test."""
    made: list[Person] = []

    def make() -> Person:
        made.append(register(services))
        return made[-1]

    yield make
    leftovers(services, made)


@pytest.fixture(scope="session")
def product(site: Site) -> int:
    """The id of a product of the demo catalogue."""
    return int(site.get("/api/products/?limit=1").json()["items"][0]["id"])
