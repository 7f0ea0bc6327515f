"""The servers that reads and writes go to."""

from __future__ import annotations

import pickle

import pytest
from django.conf import LazySettings, settings
from django.contrib.sessions.models import Session
from django.db import connections, models, router, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from scaleout.replication import at_least, lsn, state, use_primary

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


class Product(models.Model):
    """Any model."""

    class Meta:
        """It needs no table."""

        app_label = "replication"
        managed = False


def read(_request: HttpRequest) -> HttpResponse:
    """Read where the router says."""
    with connections[router.db_for_read(Product)].cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse()


def write(_request: HttpRequest) -> HttpResponse:
    """Write where the router says."""
    with connections[router.db_for_write(Product)].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written ()")
    return HttpResponse()


def write_and_be_cut_off(request: HttpRequest) -> HttpResponse:
    """Write, and lose the server before it can say how far its log is."""
    write(request)
    pid = connections["default"].connection.info.backend_pid
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
    return HttpResponse()


urlpatterns = [path("read", read), path("write", write), path("cut-off", write_and_be_cut_off)]


@pytest.fixture(autouse=True)
def fresh_trail() -> None:
    state.begin()


def test_reads_are_spread_over_both_replicas() -> None:
    seen = set()
    for _ in range(100):
        state.begin()
        seen.add(router.db_for_read(Product))
    assert seen == {"replica1", "replica2"}


def test_one_request_reads_one_replica() -> None:
    assert len({router.db_for_read(Product) for _ in range(100)}) == 1


def test_a_replica_gets_reads_by_its_weight(settings: LazySettings) -> None:
    settings.REPLICATION = settings.REPLICATION | {"WEIGHTS": {"replica1": 0, "replica2": 3}}
    for _ in range(50):
        state.begin()
        assert router.db_for_read(Product) == "replica2"


def test_a_replica_of_weight_0_is_read_by_name_only(settings: LazySettings) -> None:
    settings.REPLICATION = settings.REPLICATION | {"WEIGHTS": {"replica1": 0, "replica2": 0}}
    assert router.db_for_read(Product) == "default"
    assert Product._default_manager.using("replica1").db == "replica1"


def test_writes_go_to_the_primary() -> None:
    assert router.db_for_write(Product) == "default"


def test_a_read_after_a_write_sees_the_primary() -> None:
    router.db_for_write(Product)
    assert {router.db_for_read(Product) for _ in range(50)} == {"default"}


def test_the_next_request_reads_from_the_replicas_again() -> None:
    router.db_for_write(Product)
    state.begin()
    assert router.db_for_read(Product) in settings.REPLICATION["REPLICAS"]


def test_a_read_inside_a_transaction_goes_to_the_primary() -> None:
    with transaction.atomic():
        assert {router.db_for_read(Product) for _ in range(50)} == {"default"}
    assert router.db_for_read(Product) in settings.REPLICATION["REPLICAS"]


def test_use_primary_holds_for_its_block_only() -> None:
    with use_primary():
        assert {router.db_for_read(Product) for _ in range(50)} == {"default"}
    assert router.db_for_read(Product) in settings.REPLICATION["REPLICAS"]


def test_at_least_asks_for_a_position_for_its_block_only() -> None:
    with at_least(7) as seen:
        assert seen
        assert state.current().after == 7
        assert router.db_for_read(Product) in settings.REPLICATION["REPLICAS"]
    assert state.current().after == 0
    router.db_for_write(Product)
    with at_least(7) as seen:
        assert seen
        assert router.db_for_read(Product) == "default"


def test_a_chosen_alias_wins() -> None:
    assert Product._default_manager.using("replica2").db == "replica2"


def test_what_is_reached_through_an_object_is_read_where_the_object_came_from() -> None:
    product = Product()
    product._state.db = "replica2"
    with connections["replica2"].cursor() as cursor:
        cursor.execute("SELECT 1")
    assert {router.db_for_read(Product, instance=product) for _ in range(50)} == {"replica2"}


def test_what_is_reached_through_an_object_of_another_request_is_read_as_anything_else() -> None:
    product = Product()
    product._state.db = "replica2"
    seen = set()
    for _ in range(100):
        state.begin()
        seen.add(router.db_for_read(Product, instance=pickle.loads(pickle.dumps(product))))  # noqa: S301 - ours
    assert seen == {"replica1", "replica2"}


def test_what_must_be_exact_is_never_read_from_a_replica() -> None:
    assert {router.db_for_read(Session) for _ in range(50)} == {"default"}


@pytest.mark.parametrize(
    ("alias", "label", "allowed"),
    [
        ("default", "products", True),
        ("default", "observability", False),
        ("replica1", "products", False),
        ("shard1", "sharding", True),
        ("shard1", "products", False),
    ],
)
def test_tables_are_made_only_where_they_belong(alias: str, label: str, allowed: bool) -> None:
    assert router.allow_migrate(alias, label) is allowed


def test_the_answer_names_the_databases_that_were_asked(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    assert Client().get("/write")["X-Database"] == "default"
    read = Client().get("/read")
    assert read["X-Database"] in settings.REPLICATION["REPLICAS"]
    assert len(read["X-Database-Server"].split(",")) == 1


def test_a_read_whose_connection_was_cut_is_answered_all_the_same(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    for alias in settings.REPLICATION["REPLICAS"]:
        connections[alias].ensure_connection()
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [connections[alias].connection.info.backend_pid])
    assert Client().get("/read").status_code == 200


def test_a_browser_hands_the_position_of_its_write_back_and_any_other_caller_sends_it(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    browser, other = Client(), Client()
    written = browser.get("/write")["X-Read-After"]
    assert lsn.parse(written) > 0
    assert browser.get("/read")["X-Read-After"] == written
    assert other.get("/read", headers={"X-Read-After": written})["X-Read-After"] == written
    later = lsn.render(lsn.parse(written) + 1)
    assert browser.get("/read", headers={"X-Read-After": later})["X-Read-After"] == later
    assert browser.get("/read", headers={"X-Read-After": "0/1"})["X-Read-After"] == written, "the later of the two"
    assert "X-Read-After" not in other.get("/read"), "the position is the browser's own"


@pytest.mark.parametrize("value", ["", "0", "-1", "x", "0/1", "\u00b2", "9" * 21])
def test_a_bad_position_in_a_cookie_is_as_good_as_none(settings: LazySettings, value: str) -> None:
    settings.ROOT_URLCONF = __name__
    browser = Client()
    browser.cookies["read_after"] = value
    answer = browser.get("/read")
    assert answer.status_code == 200
    assert "X-Read-After" not in answer


def written() -> int:
    """Return how far the primary has written its log."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn()::text")
        return lsn.parse(cursor.fetchone()[0])


def test_a_position_that_is_too_large_is_what_the_primary_has_written(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    browser = Client()
    browser.cookies["read_after"] = "9" * 20
    before = written()
    assert before <= lsn.parse(browser.get("/read")["X-Read-After"]) <= written()


def test_a_bad_position_in_the_header_is_refused(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    assert Client().get("/read", headers={"X-Read-After": "soon"}).status_code == 400


def test_a_write_whose_position_is_not_known_is_remembered_as_later_than_any_replica(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    browser = Client()
    answer = browser.get("/cut-off")
    assert (answer.status_code, answer["X-Read-After"]) == (200, "FFFFFFFF/FFFFFFFF")
    connections["default"].close()
    before = written()
    assert lsn.parse(browser.get("/read")["X-Read-After"]) >= before, "the write is not after this"
    connections["default"].close()


def test_a_write_whose_connection_was_cut_is_not_repeated(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = __name__
    connections["default"].ensure_connection()
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [connections["default"].connection.info.backend_pid])
    assert Client().get("/write").status_code == 503
    connections["default"].close()
