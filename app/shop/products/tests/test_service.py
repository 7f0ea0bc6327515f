"""The products service: staff change the catalogue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from scaleout.events.models import Outbox
from scaleout.identity import tokens

from shop.products.models import Product
from shop.products.tests.conftest import MakeProduct, category_at

pytestmark = pytest.mark.django_db
LIST = "/api/products/"
TENT = {"sku": "T-1", "name": "Tent", "category": "outdoor-tents", "price": {"amount": 24900, "currency": "EUR"}}


def bearer(*, staff: bool) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.for_user(7, is_staff=staff)}"}


def send(client: Client, method: str, path: str, body: Any, *, staff: bool = True) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return client.generic(method, LIST + path, data, content_type="application/json", headers=bearer(staff=staff))


def assert_problem(answer: Any, status: int, says: str = "") -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_a_product_is_read(client: Client, make_product: MakeProduct) -> None:
    product = make_product(name="Tent")
    assert client.get(f"{LIST}{product.pk}").json()["name"] == "Tent"
    assert client.head(f"{LIST}{product.pk}").status_code == 200


@pytest.mark.parametrize(
    ("path", "queries"), [("", 1), ("?ids={ids}", 1), ("?category=outdoor", 2), ("categories", 1), ("999999999", 1)]
)
@pytest.mark.parametrize("products", [1, 30])
def test_the_number_of_queries_does_not_grow_with_the_catalogue(
    client: Client, make_product: MakeProduct, path: str, queries: int, products: int
) -> None:
    made = [make_product(f"outdoor/part{number}", featured=True).pk for number in range(products)]
    with CaptureQueriesContext(connection) as captured:
        client.get(LIST + path.format(ids=",".join(map(str, made))))
    assert len(captured) == queries, captured.captured_queries


def test_a_change_publishes_an_event_and_a_body_without_a_change_none(
    client: Client, make_product: MakeProduct
) -> None:
    product = make_product(name="Tent")
    assert send(client, "PATCH", str(product.pk), {"name": "Big tent"}).status_code == 200
    assert send(client, "PATCH", str(product.pk), {}).status_code == 200
    event = Outbox.objects.using("default").get()
    price = {"amount": product.price_amount, "currency": product.currency}
    assert (event.name, event.aggregate) == ("product_changed", f"product:{product.pk}")
    assert event.data == {"product_id": product.pk, "name": "Big tent", "price": price}


@pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])
def test_prices_for_orders_are_read_from_the_primary(
    client: Client, make_product: MakeProduct, settings: Settings
) -> None:
    product = make_product(name="Tent")
    assert client.get(LIST, {"q": "tent"})["X-Database"] in settings.REPLICATION["REPLICAS"]
    assert client.get(LIST, {"ids": product.pk})["X-Database"] == "default"


def test_staff_add_change_and_remove_a_product(client: Client) -> None:
    category_at("outdoor/tents")
    category_at("coffee")
    made = send(client, "POST", "", TENT | {"stock": 3})
    assert made.status_code == 201
    product = made.json()
    assert product == client.get(f"{LIST}{product['id']}").json()
    assert (product["price"], product["stock"], product["sold"]) == (TENT["price"], 3, 0)

    change = {"price": {"amount": 5, "currency": "JPY"}, "category": "coffee", "featured": True}
    changed = send(client, "PATCH", str(product["id"]), change)
    assert changed.json() == product | {
        "price": {"amount": 5, "currency": "JPY"},
        "category": {"slug": "coffee", "name": "Coffee"},
        "featured": True,
    }
    assert client.get(f"{LIST}{product['id']}").json() == changed.json()
    assert send(client, "PATCH", str(product["id"]), {}).json() == changed.json()

    assert send(client, "DELETE", str(product["id"]), b"").status_code == 204
    assert_problem(client.get(f"{LIST}{product['id']}"), 404)
    assert_problem(send(client, "DELETE", str(product["id"]), b""), 404)


def test_a_change_of_the_amount_alone_keeps_the_currency(client: Client, make_product: MakeProduct) -> None:
    product = make_product()
    Product.objects.filter(pk=product.pk).update(currency="JPY")
    changed = send(client, "PATCH", str(product.pk), {"price": {"amount": 5}})
    assert (changed.status_code, changed.json()["price"]) == (200, {"amount": 5, "currency": "JPY"})


def test_a_change_keeps_the_other_fields_of_a_concurrent_change(client: Client, make_product: MakeProduct) -> None:
    product = make_product()
    Product.objects.filter(pk=product.pk).update(stock=77)
    assert send(client, "PATCH", str(product.pk), {"name": "New"}).json()["stock"] == 77


def test_only_staff_change_the_catalogue(client: Client, make_product: MakeProduct) -> None:
    product = make_product(name="Tent")
    for method, path in (("POST", ""), ("PATCH", str(product.pk)), ("DELETE", str(product.pk))):
        body = TENT if method == "POST" else {"name": "changed"}
        assert_problem(send(client, method, path, body, staff=False), 403)
        answer = client.generic(method, LIST + path, json.dumps(body), content_type="application/json")
        assert_problem(answer, 401)
        forged = client.generic(method, LIST + path, "{}", headers={"authorization": "Bearer a.b.c"})
        assert_problem(forged, 401)
    assert list(Product.objects.values_list("name", flat=True)) == ["Tent"]


def test_a_sku_belongs_to_one_product(client: Client, make_product: MakeProduct) -> None:
    first, second = make_product(sku="A"), make_product(sku="B")
    assert_problem(send(client, "POST", "", TENT | {"sku": "A"}), 409)
    assert_problem(send(client, "PATCH", str(second.pk), {"sku": "A"}), 409)
    assert send(client, "PATCH", str(first.pk), {"sku": "A"}).status_code == 200


def test_a_product_needs_a_category_that_exists(client: Client, make_product: MakeProduct) -> None:
    assert_problem(send(client, "POST", "", TENT), 400, "category")
    assert_problem(send(client, "PATCH", str(make_product().pk), {"category": "nowhere"}), 400, "category")


BODIES: list[Any] = [
    b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", {}, TENT | {"price": 5}, TENT | {"price": {"amount": -1}},
    TENT | {"price": {"amount": 1.5}}, TENT | {"price": {"amount": "5"}}, TENT | {"price": {"amount": 2**53}},
    TENT | {"price": {"amount": 5, "currency": "ABC"}}, TENT | {"price": {"amount": 5, "currency": "eur"}},
    TENT | {"name": ""}, TENT | {"name": "a\0"}, TENT | {"name": "a\nb"}, TENT | {"name": "\ud800"},
    TENT | {"name": "n" * 201}, TENT | {"sku": " "}, TENT | {"sku": "s" * 129}, TENT | {"description": "a\0"},
    TENT | {"description": "d" * 20_001}, TENT | {"stock": -1}, TENT | {"stock": 2**31}, TENT | {"stock": True},
    TENT | {"featured": "yes"}, TENT | {"sold": 5}, TENT | {"id": 5}, TENT | {"image_url": "/x"},
    TENT | {"category": "a/b"}, TENT | {"category": "a\n"}, TENT | {"category": "-" * 150},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=[str(number) for number in range(len(BODIES))])
def test_a_bad_body_is_a_problem_of_the_caller(client: Client, body: Any) -> None:
    category_at("outdoor/tents")
    assert_problem(send(client, "POST", "", body), 400)
    assert not Product.objects.exists()


@pytest.mark.parametrize("product_id", ["0", "999", "9" * 30, "-1", "abc", "1.0", "%00", "\u0661", "01", "1'"])
def test_an_id_that_no_product_has_is_404_for_staff_too(client: Client, product_id: str) -> None:
    assert_problem(send(client, "PATCH", product_id, {"name": "n"}), 404)
    assert_problem(send(client, "DELETE", product_id, b""), 404)


def test_another_method_is_405_and_says_which_are_possible(client: Client) -> None:
    for method, path, allowed in (
        ("PUT", "", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "7", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("POST", "categories", {"GET", "HEAD"}),
    ):
        answer = client.generic(method, LIST + path)
        assert_problem(answer, 405)
        assert set(answer["Allow"].split(", ")) == allowed


def test_the_openapi_document_names_every_endpoint(client: Client) -> None:
    document = client.get(f"{LIST}openapi.json").json()
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/api/products/": {"get", "post"},
        "/api/products/categories": {"get"},
        "/api/products/{product_id}": {"get", "patch", "delete"},
        "/api/products/{product_id}/image": {"post"},
        "/api/products/{product_id}/image-upload": {"post"},
        "/api/products/{product_id}/image-upload/{token}": {"post"},
    }
    names = [one["name"] for one in document["paths"]["/api/products/"]["get"]["parameters"]]
    assert names == ["category", "featured", "q", "cursor", "ids", "limit"]


NFD, NFC = "Cafetie\u0300re", "Cafeti\u00e8re"


def test_a_product_is_kept_in_one_form_and_found_in_each(client: Client) -> None:
    category_at("outdoor/tents")
    made = send(client, "POST", "", TENT | {"name": NFD, "sku": f"{NFD}\u00a01", "description": f"A {NFD}."}).json()
    assert (made["name"], made["sku"], made["description"]) == (NFC, f"{NFC} 1", f"A {NFC}.")
    for query in (NFD, NFC, "Cafe\u00adtie\u0300re\u200e", NFD.upper()):
        assert [one["id"] for one in client.get(LIST, {"q": query}).json()["items"]] == [made["id"]]
    assert_problem(send(client, "POST", "", TENT | {"sku": f"{NFC} 1"}), 409)
    assert_problem(client.get(LIST, {"q": "a" + "\u0301\u0323" * 50}), 400, "q has more than 30 combining marks")


@pytest.mark.parametrize(
    "field", [{"sku": "T\u00ad-1"}, {"sku": "\u200b"}, {"name": "Te\u202ent"}, {"name": "\u3164"}, {"name": "\u2800"}]
)
def test_invisible_characters_are_400(client: Client, field: dict[str, str]) -> None:
    assert_problem(send(client, "POST", "", TENT | field), 400, f"body.{next(iter(field))}")
    assert not Product.objects.exists()


def test_the_command_brings_products_of_earlier_releases_into_one_form(
    client: Client, make_product: MakeProduct, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = make_product(name=NFD, sku=f"{NFD}-1", description=NFD)
    make_product(name="Tent")
    both = [make_product(sku=sku, name="Twin") for sku in (f"{NFD}-2", f"{NFC}-2")]
    call_command("normalise_catalogue")
    printed = capsys.readouterr()
    assert printed.out == "1 products changed\n"
    assert printed.err == f"product {both[0].pk}: another product has its SKU in NFC: change one of the two\n"
    odd.refresh_from_db()
    assert (odd.sku, odd.name, odd.description) == (f"{NFC}-1", NFC, NFC)
    assert [row.data["name"] for row in Outbox.objects.all()] == [NFC]
    call_command("normalise_catalogue")
    assert capsys.readouterr().out == "0 products changed\n"


def test_a_change_needs_the_current_etag(client: Client, make_product: MakeProduct) -> None:
    path = str(make_product(name="Tent").pk)

    def change(name: str, tag: str, method: str = "PATCH") -> Any:
        headers = bearer(staff=True) | {"If-Match": tag}
        body = json.dumps({"name": name})
        return client.generic(method, LIST + path, body, content_type="application/json", headers=headers)

    def etag() -> str:
        return str(client.get(LIST + path).headers["ETag"])

    seen = etag()
    for bogus in ('"bogus"', "bogus", "", 'W/"bogus", "other"'):
        assert_problem(change("Lost", bogus), 412, "Read it again")
        assert_problem(change("Lost", bogus, "DELETE"), 412)
    assert change("Lark", seen).json()["name"] == "Lark"
    assert_problem(change("Lost", seen), 412)
    assert change("Wren", f'"other", {etag().removeprefix("W/")}').status_code == 200, "as a cache may have made it"
    assert change("Swift", "*").status_code == 200
    assert client.get(LIST + path).json()["name"] == "Swift"
    assert change("", etag(), "DELETE").status_code == 204


def test_a_change_without_if_match_is_428_where_the_site_says_so(
    client: Client, make_product: MakeProduct, settings: Settings
) -> None:
    path = str(make_product(name="Tent").pk)
    settings.PROBLEMS = {"REQUIRE_IF_MATCH": True}
    assert_problem(send(client, "PATCH", path, {"name": "Lost"}), 428, "If-Match")
    assert_problem(send(client, "DELETE", path, {}), 428)
    assert Product.objects.get().name == "Tent"
    settings.PROBLEMS = {"REQUIRE_IF_MATCH": False}
    assert send(client, "PATCH", path, {"name": "Lark"}).status_code == 200
