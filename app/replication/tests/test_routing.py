"""Where reads and writes go."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connections, router, transaction
from django.test import Client
from products.models import Category, Product
from replication import state, use_primary
from stateless.models import Counter

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture(autouse=True)
def fresh_trail() -> None:
    state.begin()


def test_reads_are_spread_over_both_replicas() -> None:
    assert {router.db_for_read(Product) for _ in range(100)} == {"replica1", "replica2"}


def test_writes_go_to_the_primary() -> None:
    assert router.db_for_write(Product) == "default"


def test_a_read_after_a_write_sees_the_primary() -> None:
    router.db_for_write(Product)
    assert {router.db_for_read(Product) for _ in range(50)} == {"default"}


def test_the_next_request_reads_from_the_replicas_again() -> None:
    router.db_for_write(Product)
    state.begin()
    assert router.db_for_read(Product) in settings.REPLICAS


def test_a_read_inside_a_transaction_goes_to_the_primary() -> None:
    with transaction.atomic():
        assert {router.db_for_read(Product) for _ in range(50)} == {"default"}
    assert router.db_for_read(Product) in settings.REPLICAS


def test_use_primary_holds_for_its_block_only() -> None:
    with use_primary():
        assert {router.db_for_read(Product) for _ in range(50)} == {"default"}
    assert router.db_for_read(Product) in settings.REPLICAS


def test_a_chosen_alias_wins() -> None:
    assert Product.objects.using("replica2").db == "replica2"


def test_what_is_reached_through_an_object_is_read_where_the_object_came_from() -> None:
    product = Product()
    product._state.db = "replica2"
    assert {router.db_for_read(Category, instance=product) for _ in range(50)} == {"replica2"}


def test_counter_and_sessions_are_never_read_from_a_replica() -> None:
    assert {router.db_for_read(Counter) for _ in range(50)} == {"default"}


@pytest.mark.parametrize(
    ("alias", "label", "allowed"),
    [
        ("default", "products", True),
        ("default", "sharding", False),
        ("replica1", "products", False),
        ("users_shard_1", "sharding", True),
        ("users_shard_1", "products", False),
    ],
)
def test_tables_are_made_only_where_they_belong(alias: str, label: str, allowed: bool) -> None:
    assert router.allow_migrate(alias, label) is allowed


def test_the_answer_names_the_databases_that_were_asked() -> None:
    assert Client().post("/counter/")["X-Database"] == "default"
    assert Client().get("/api/products/")["X-Database"] in settings.REPLICAS


def test_a_read_whose_connection_was_cut_is_answered_all_the_same() -> None:
    client = Client()
    client.get("/api/products/")
    for alias in settings.REPLICAS:
        connection = connections[alias]
        connection.ensure_connection()
        pid = connection.connection.info.backend_pid
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
    assert client.get("/api/products/").status_code == 200
