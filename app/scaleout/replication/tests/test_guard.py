"""With the guard on, a read of the primary that did not say so is an error."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.db import connections, transaction
from django.test import Client

from scaleout.replication import state, use_primary
from scaleout.replication.guard import UnsaidPrimaryRead

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture(autouse=True)
def guarded(settings: LazySettings) -> None:
    settings.REPLICATION = settings.REPLICATION | {"GUARD": True}
    connections["default"].ensure_connection()
    state.begin()


def read() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_read_of_the_primary_without_need_is_an_error_that_shows_the_query() -> None:
    with pytest.raises(UnsaidPrimaryRead, match="SELECT 1"):
        read()


def test_a_read_that_says_so_is_let_through() -> None:
    with use_primary():
        read()


def test_a_read_in_a_transaction_and_one_after_a_write_are_let_through() -> None:
    with transaction.atomic():
        read()
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written ()")
    read()


def test_a_read_of_a_replica_is_no_business_of_the_guard() -> None:
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_read_that_is_sent_to_the_primary_on_its_second_try_is_let_through(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = "scaleout.replication.tests.test_router"
    for alias in settings.REPLICATION["REPLICAS"]:
        connections[alias].ensure_connection()
        with use_primary(), connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [connections[alias].connection.info.backend_pid])
    answer = Client().get("/read")
    assert answer.status_code == 200
    assert answer["X-Database"].endswith("default")
