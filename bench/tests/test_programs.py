"""The operations of the benches still do what they say, on the servers of this run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.db import connections
from django.test import Client
from programs import events, ids, pool, scatter
from programs.prepare import prepare
from programs.serve import Operation
from scaleout.events.models import Outbox

SHARDS = ["shard0", "shard1", "shard2"]
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *SHARDS]),
    pytest.mark.usefixtures("unknown_map"),
]


@pytest.fixture
def sequence(settings: LazySettings) -> Iterator[None]:
    """The servers of the bench `ids`: one shard."""
    settings.SHARDING = settings.SHARDING | {"SHARDS": {0: "shard0"}}
    settings.DATABASE_APPS = {alias: settings.DATABASE_APPS[alias] for alias in ("default", "shard0")}
    ids.prepare()
    yield
    with connections["shard0"].cursor() as cursor:
        cursor.execute("DROP SEQUENCE bench_ids")


def test_a_page_is_a_page_however_it_is_asked() -> None:
    prepare(900)
    after = scatter.starts()[0]
    whole = [user.id for user in scatter.scattered(after)]
    assert whole == [user.id for user in scatter.in_turn(after)][: scatter.PAGE]
    assert len(whole) == scatter.PAGE
    assert {user._state.db for user in scatter.one_shard("shard0", after)} == {"shard0"}
    for operation in scatter.OPERATIONS.values():
        assert operation() == 1


@pytest.mark.usefixtures("sequence")
@pytest.mark.parametrize("name", ids.OPERATIONS)
def test_ids_are_counted_one_by_one(name: str) -> None:
    assert ids.OPERATIONS[name]() == (1 if name in ("nextval", "new_id") else ids.BLOCK)


def test_a_uuid_is_of_version_7_and_later_ones_are_greater() -> None:
    made = [ids.uuid7() for _ in range(1000)]
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 1000
    assert [one.int >> 80 for one in made] == sorted(one.int >> 80 for one in made)


def test_the_view_reads_its_row(settings: LazySettings, client: Client) -> None:
    prepare()
    settings.ROOT_URLCONF = "programs.views"
    assert client.get("/named/default").content == b"active"
    assert pool.ask("default") == 1


@pytest.mark.parametrize(("operation", "written"), [(events.insert, 0), (events.write, 1), (events.tell, 1)])
def test_an_event_is_written_beside_its_row(settings: LazySettings, operation: Operation, written: int) -> None:
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": {events.EVENT: ["programs.events.handle"]}}
    events.prepare()
    with connections["default"].cursor() as cursor:
        try:
            assert operation() == 1
            cursor.execute("SELECT count(*) FROM bench_row")
            assert cursor.fetchone() == (1,)
            assert Outbox.objects.using("default").count() == written
        finally:
            cursor.execute("DROP TABLE bench_row")
