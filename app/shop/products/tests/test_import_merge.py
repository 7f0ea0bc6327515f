"""The effect of an import on existing products: all of it or nothing."""

import gzip
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from scaleout.events.models import Outbox
from scaleout.events.outbox import publish_many

from shop.products import answers
from shop.products.imports import loader
from shop.products.imports.loader import DATABASE, Reports, Result, load
from shop.products.imports.records import Record
from shop.products.models import Product
from shop.products.tests.conftest import ImportFile, MakeProduct

DEADLINE = 30  # seconds


def lines(*records: Mapping[str, object]) -> str:
    base = {"name": "Tent", "category": "outdoor", "price": 100}
    return "\n".join(json.dumps({**base, **record}) for record in records)


def silent(*_: object) -> None:
    """Reports nothing."""


PRODUCTS = Product.objects.using(DATABASE)  # outside a transaction a read would go to a replica
QUIET = Reports(rejected=silent, replaced=silent, waiting=silent, merging=silent)


def some(skus: list[str], **fields: object) -> Iterator[Record]:
    for line, sku in enumerate(skus, start=1):
        yield Record(line, {"sku": sku, "name": "Tent", "category": "outdoor", "price": 100} | fields)


@pytest.mark.django_db
def test_the_same_file_twice_changes_nothing(import_file: ImportFile) -> None:
    text = lines(*({"sku": f"S-{n}", "price": n} for n in range(5_000)))
    assert import_file("a.jsonl", text).out.startswith("created 5000, updated 0, unchanged 0, rejected 0")
    before = list(Product.objects.order_by("pk").values_list())
    assert import_file("a.jsonl", text).out.startswith("created 0, updated 0, unchanged 5000, rejected 0")
    assert list(Product.objects.order_by("pk").values_list()) == before


@pytest.mark.django_db
def test_only_what_differs_is_updated(import_file: ImportFile) -> None:
    import_file("a.jsonl", lines({"sku": "A"}, {"sku": "B"}))
    before = {product.sku: product for product in Product.objects.all()}
    outcome = import_file("a.jsonl", lines({"sku": "A"}, {"sku": "B", "price": 101}, {"sku": "C"}))
    assert outcome.out.startswith("created 1, updated 1, unchanged 1, rejected 0")
    after = {product.sku: product for product in Product.objects.all()}
    assert after["A"].updated_at == before["A"].updated_at
    assert (after["B"].pk, after["B"].price_amount) == (before["B"].pk, 101)
    assert after["B"].created_at == before["B"].created_at


@pytest.mark.django_db
def test_an_absent_value_keeps_what_is_there_and_an_empty_text_clears_it(
    import_file: ImportFile, make_product: MakeProduct
) -> None:
    kept = {
        "description": "Dry.",
        "currency": "USD",
        "stock": 7,
        "sold": 2,
        "featured": True,
        "image_url": "/t.svg",
    }
    make_product(sku="A", **kept)
    outcome = import_file("a.csv", "sku,name,category,price,stock\nA,New name,coffee,55,\n")
    assert "existing products keep their description, currency, featured, image_url\n" in outcome.err
    product = Product.objects.get(sku="A")
    assert (product.name, product.category.slug, product.price_amount) == ("New name", "coffee", 55)
    assert {name: getattr(product, name) for name in kept} == kept

    import_file("a.jsonl", lines({"sku": "A", "description": "", "image_url": "", "featured": False, "stock": 0}))
    product = Product.objects.get(sku="A")
    assert (product.description, product.image_url, product.featured, product.stock) == ("", "", False, 0)
    assert (product.currency, product.sold) == ("USD", 2)


@pytest.mark.django_db
def test_the_last_row_of_a_sku_counts_and_the_others_are_reported(import_file: ImportFile) -> None:
    twice = ({"sku": "A", "price": 1}, {"sku": "B"}, {"sku": "A", "price": 2}, {"sku": "A", "price": 3})
    outcome = import_file("a.jsonl", lines(*twice))
    assert outcome.code == 0
    assert ":1: SKU A occurs again in line 4\n" in outcome.err
    assert ":3: SKU A occurs again in line 4\n" in outcome.err
    assert "2 rows were replaced by a later row with the same SKU" in outcome.err
    assert outcome.out.startswith("created 2, updated 0, unchanged 0, rejected 0")
    assert Product.objects.get(sku="A").price_amount == 3


@pytest.mark.django_db
def test_an_imported_product_is_found_by_search(import_file: ImportFile) -> None:
    import_file("a.jsonl", lines({"sku": "A", "description": "Hammocks between birches"}))
    assert Product.objects.filter(search="birch").get().sku == "A"


@pytest.mark.django_db
def test_unknown_columns_are_named_and_ignored(import_file: ImportFile) -> None:
    outcome = import_file("a.csv", "sku,name,category,price,colour\nA,Tent,outdoor,1,red\n")
    assert outcome.code == 0
    assert "unknown columns ignored: colour\n" in outcome.err


@pytest.mark.django_db
def test_a_file_that_breaks_off_leaves_nothing(import_file: ImportFile) -> None:
    packed = gzip.compress(lines(*({"sku": f"S-{n}", "name": str(hash(n))} for n in range(9_000))).encode())
    outcome = import_file("a.jsonl.gz", packed[: len(packed) // 2])
    assert outcome.code == 2
    assert "unreadable after line" in outcome.err
    assert not Product.objects.exists()


@pytest.mark.django_db
def test_an_import_publishes_an_event_for_each_renamed_product(
    import_file: ImportFile, make_product: MakeProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "BATCH", 2)
    made = [make_product("outdoor", sku=f"S-{n}", name=f"Old {n}", price_amount=100) for n in range(6)]
    rows = [{"sku": one.sku, "name": f"New {n}"} for n, one in enumerate(made[:5])]
    import_file("a.jsonl", lines(*rows, {"sku": "S-5", "name": "Old 5", "price": 7}, {"sku": "S-6"}))
    events = list(Outbox.objects.using(DATABASE).order_by("id"))
    assert [(one.name, one.aggregate, one.consumer) for one in events] == [
        ("product_changed", f"product:{one.pk}", "orders.tasks.handle_product_event") for one in made[:5]
    ]
    price = {"amount": 100, "currency": "EUR"}
    assert [one.data for one in events] == [
        {"product_id": one.pk, "name": f"New {n}", "price": price} for n, one in enumerate(made[:5])
    ]


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_connection_is_killed_midway_leaves_nothing() -> None:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()

    def killed_after_three_batches() -> Iterator[Record]:
        yield from some([f"S-{n}" for n in range(7_000)])
        other = connections.create_connection(DATABASE)
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
                assert cursor.fetchone() == (True,)
        finally:
            other.close()
        yield from some(["LAST"])

    with pytest.raises(DatabaseError):
        load(killed_after_three_batches(), QUIET)
    connection.close()
    assert not PRODUCTS.exists()
    assert load(some(["A"]), QUIET) == Result(created=1)


@pytest.mark.django_db(transaction=True)
def test_an_import_that_fails_while_reading_leaves_nothing() -> None:
    def broken() -> Iterator[Record]:
        yield from some([f"S-{n}" for n in range(5_000)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(broken(), QUIET)
    assert not PRODUCTS.exists()


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_wait_for_each_other_and_both_are_loaded() -> None:
    skus = [f"S-{n}" for n in range(3_000)]
    load(some(skus), QUIET)
    holding, waiting = Event(), Event()

    def first_records() -> Iterator[Record]:
        yield from some(skus, price=1)
        holding.set()
        assert waiting.wait(DEADLINE), "the second import never said that it waits"
        yield from some(["FIRST"])

    def run(records: Iterator[Record], reports: Reports) -> Result:
        try:
            return load(records, reports)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, first_records(), QUIET)
        assert holding.wait(DEADLINE), "the first import never began"
        reports = Reports(rejected=silent, replaced=silent, waiting=waiting.set, merging=silent)
        second = threads.submit(run, some([*reversed(skus), "SECOND"], price=2), reports)
        assert first.result(DEADLINE) == Result(created=1, updated=3_000)
        assert second.result(DEADLINE) == Result(created=1, updated=3_000)
    assert PRODUCTS.filter(price_amount=2).count() == 3_001
    assert set(PRODUCTS.filter(sku__in=["FIRST", "SECOND"]).values_list("sku", flat=True)) == {
        "FIRST",
        "SECOND",
    }


@pytest.mark.django_db(transaction=True)
def test_a_sale_during_an_import_is_not_undone(make_product: MakeProduct) -> None:
    product = make_product("outdoor", sku="A", name="Tent", price_amount=1, stock=5)

    def with_a_sale_between() -> Iterator[Record]:
        yield from some(["A"])
        other = connections.create_connection(DATABASE)
        try:
            with other.cursor() as cursor:
                cursor.execute("UPDATE products_product SET stock = 4, sold = 1 WHERE id = %s", [product.pk])
        finally:
            other.close()

    assert load(with_a_sale_between(), QUIET) == Result(updated=1)
    product.refresh_from_db(using=DATABASE)
    assert (product.price_amount, product.stock, product.sold) == (100, 4, 1)


@pytest.mark.django_db(transaction=True)
def test_a_product_that_is_changed_while_an_import_has_others_locked_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(some(["A", "B"], stock=10), QUIET)
    one = PRODUCTS.get(sku="A")
    assert json.loads(answers.detail(one.pk))["stock"] == 10
    tell = publish_many

    def sell(*args: Any, **options: Any) -> None:
        """Sell some of the unchanged A as soon as the import has locked B."""
        tell(*args, **options)
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(change).result(DEADLINE)

    def change() -> None:
        try:
            PRODUCTS.filter(pk=one.pk).update(stock=7, sold=3, name="By staff")
        finally:
            connections.close_all()

    monkeypatch.setattr(loader, "publish_many", sell)
    rows = (*some(["A"], stock=10), *some(["B"], stock=10, name="New"))
    assert load(iter(rows), QUIET) == Result(updated=1, unchanged=1)
    assert PRODUCTS.filter(sku="A", stock=7, sold=3, name="By staff").exists()
    assert PRODUCTS.filter(sku="B", name="New").exists()
    assert json.loads(answers.detail(one.pk))["stock"] == 7
