from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from shop.products import answers, params
from shop.products.api import Change, NewProduct
from shop.products.models import SLUG_MAX, Category
from shop.products.schemas import CategoryOut, PriceOut, ProductOut
from shop.products.tests.conftest import MakeProduct, category_at

pytestmark = pytest.mark.django_db
LIST = "/api/products/"


def names(client: Client, **query: str | int) -> list[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer.content
    return [item["name"] for item in answer.json()["items"]]


def assert_problem(answer: Any, status: int) -> None:
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def test_a_product_has_the_shape_of_the_contract(client: Client, make_product: MakeProduct) -> None:
    product = make_product(
        sku="T-1",
        name="Tent",
        description="Dry.",
        price_amount=24900,
        stock=3,
        featured=True,
        image_url="/t.svg",
    )
    expected = {
        "id": product.pk,
        "sku": "T-1",
        "name": "Tent",
        "description": "Dry.",
        "category": {"slug": "outdoor-tents", "name": "Tents"},
        "price": {"amount": 24900, "currency": "EUR"},
        "stock": 3,
        "sold": 0,
        "featured": True,
        "image_url": "/t.svg",
    }
    assert client.get(f"{LIST}{product.pk}").json() == expected
    assert client.get(LIST).json() == {"items": [expected], "next": None}


def test_an_answer_has_the_fields_of_its_documented_shape_and_no_others(make_product: MakeProduct) -> None:
    answer = answers.as_json(make_product())
    assert list(answer) == list(ProductOut.model_fields)
    assert list(answer["category"]) == list(CategoryOut.model_fields)
    assert list(answer["price"]) == list(PriceOut.model_fields)


def test_what_can_be_set_can_be_changed_and_is_answered() -> None:
    assert set(NewProduct.model_fields) == set(Change.model_fields) < set(ProductOut.model_fields)


def test_an_empty_catalogue_is_an_empty_list(client: Client) -> None:
    assert client.get(LIST).json() == {"items": [], "next": None}
    assert client.get(f"{LIST}categories").json() == {"items": [], "next": None}


def test_a_category_includes_its_descendants(client: Client, make_product: MakeProduct) -> None:
    make_product("outdoor", name="Map")
    make_product("outdoor/tents", name="Tent")
    make_product("coffee", name="Beans")
    assert names(client, category="outdoor") == ["Map", "Tent"]
    assert names(client, category="outdoor-tents") == ["Tent"]


def test_several_products_are_read_by_their_ids_with_one_query(client: Client, make_product: MakeProduct) -> None:
    made = [make_product() for _ in range(params.IDS_MAX)]
    ids = [one.pk for one in made]
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(LIST, {"ids": ",".join(map(str, reversed(ids)))})
    assert [one["id"] for one in answer.json()["items"]] == ids
    assert answer.json()["next"] is None
    assert len(captured) == 1
    found = client.get(LIST, {"ids": f"{ids[3]},{ids[3]},{max(ids) + 1}"}).json()
    assert [one["id"] for one in found["items"]] == [ids[3]]


@pytest.mark.parametrize("ids", ["x", "1,", ",", "0", "-1", "1 2", "1;2", "9" * 19, ",".join(["1"] * 51), "1\0"])
def test_invalid_ids_are_rejected(client: Client, ids: str) -> None:
    answer = client.get(LIST, {"ids": ids})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("ids must ")


def test_featured_may_be_asked_for_or_against(client: Client, make_product: MakeProduct) -> None:
    make_product(name="Plain")
    make_product(name="Picked", featured=True)
    assert names(client, featured="true") == names(client, featured="1") == ["Picked"]
    assert names(client, featured="false") == ["Plain"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kettle", ["Gooseneck kettle", "Camp pot"]),  # in a name, in a description
        ("kettles", ["Gooseneck kettle", "Camp pot"]),  # another form of the word
        ("OSENE", ["Gooseneck kettle"]),  # inside a name, in any case
        ("go", ["Gooseneck kettle"]),  # too short for that: how a name begins
        ("kettle -gooseneck", ["Camp pot"]),
        ('"like a kettle"', ["Camp pot"]),
        ("100%", ["Pad 100% wool"]),  # no wildcard
        ("_", []),
        ("the", []),  # a word that says nothing
        ("' OR 1=1 --", []),
        ("\\", []),
        ("   ", ["Gooseneck kettle", "Camp pot", "Pad 100% wool"]),  # nothing asked
    ],
)
def test_a_search_finds_words_and_parts_of_names(
    client: Client, make_product: MakeProduct, query: str, found: list[str]
) -> None:
    make_product(name="Gooseneck kettle")
    make_product(name="Camp pot", description="Pours like a kettle.")
    make_product(name="Pad 100% wool")
    assert names(client, q=query) == found


def test_empty_and_unknown_parameters_are_ignored(client: Client, make_product: MakeProduct) -> None:
    make_product(name="Tent")
    assert names(client, category="", featured="", q="", cursor="", limit="", colour="red") == ["Tent"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"cursor": "nonsense"}, 400),
        ({"cursor": "A" * 10_000}, 400),
        ({"limit": "abc"}, 400),
        ({"limit": "0"}, 400),
        ({"limit": "-1"}, 400),
        ({"limit": "1.5"}, 400),
        ({"limit": "\u0663"}, 400),
        ({"featured": "maybe"}, 400),
        ({"q": "a\0b"}, 400),
        ({"q": "a" * 10_000}, 400),
        ({"category": "nowhere"}, 404),
        ({"category": "a\0b"}, 404),
        ({"category": "a" * 10_000}, 404),
    ],
)
def test_a_bad_parameter_is_a_problem_of_the_caller(client: Client, params: dict[str, str], status: int) -> None:
    assert_problem(client.get(LIST, params), status)


@pytest.mark.parametrize("more", [{}, {"q": "tent"}])
def test_an_impossible_slug_is_404_without_a_query(client: Client, more: dict[str, str]) -> None:
    said = []
    for length, queries in ((SLUG_MAX, 1), (SLUG_MAX + 1, 0)):
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(LIST, {"category": "a" * length, **more})
        assert len(captured) == queries
        assert_problem(answer, 404)
        said.append(answer.json()["detail"])
    assert said[0] == said[1]


@pytest.mark.parametrize("query", ["%ff%fe", "q=%ff%fe", "q=%ed%a0%80", "&&&=&", "q=a&q=b", "q[]=1", "%00=%00"])
def test_an_invalid_query_string_is_not_a_500(client: Client, query: str) -> None:
    assert client.get(f"{LIST}?{query}").status_code < 500


@pytest.mark.parametrize("product_id", ["0", "999", "9" * 30, "-1", "abc", "1.0", "%00", "\u0661", "01", "1'"])
def test_an_id_that_no_product_has_is_a_404_problem(client: Client, product_id: str) -> None:
    assert_problem(client.get(f"{LIST}{product_id}"), 404)


def test_a_limit_above_the_maximum_gives_the_maximum(client: Client, make_product: MakeProduct) -> None:
    for _ in range(101):
        make_product()
    for limit in ("101", "9" * 30):
        answer = client.get(LIST, {"limit": limit}).json()
        assert len(answer["items"]) == 100
        assert answer["next"]
    assert len(client.get(LIST).json()["items"]) == 24
    assert len(client.get(LIST, {"limit": "007"}).json()["items"]) == 7


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("", {"GET", "HEAD", "POST"}), ("1", {"GET", "HEAD", "PATCH", "DELETE"}), ("categories", {"GET", "HEAD"})],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_a_405_that_says_what_is_allowed(
    client: Client, path: str, allowed: set[str], method: str
) -> None:
    answer = client.generic(method, LIST + path)
    if method in allowed:
        assert_problem(answer, 401)
    else:
        assert_problem(answer, 405)
        assert set(answer["Allow"].split(", ")) == allowed


def test_head_is_answered_as_get_without_a_body(client: Client, make_product: MakeProduct) -> None:
    product = make_product()
    for path in ("", "categories", str(product.pk)):
        answer = client.head(LIST + path)
        assert answer.status_code == 200
        assert answer.content == b""


def test_categories_are_a_tree_that_counts_products_below(client: Client, make_product: MakeProduct) -> None:
    make_product("outdoor")
    make_product("outdoor/tents")
    make_product("outdoor/tents")
    category_at("coffee")
    tents = {"slug": "outdoor-tents", "name": "Tents", "products": 2, "children": []}
    assert client.get(f"{LIST}categories").json()["items"] == [
        {"slug": "coffee", "name": "Coffee", "products": 0, "children": []},
        {"slug": "outdoor", "name": "Outdoor", "products": 3, "children": [tents]},
    ]


def test_categories_in_a_cycle_do_no_harm(client: Client, make_product: MakeProduct) -> None:
    make_product("a/b/c", name="Thing")
    Category.objects.filter(slug="a").update(parent=Category.objects.get(slug="a-b"))
    assert names(client, category="a") == names(client, category="a-b-c") == ["Thing"]
    assert client.get(f"{LIST}categories").json()["items"][0]["products"] == 1


@pytest.mark.parametrize(
    ("path", "queries"),
    [("", 1), ("?featured=true&q=thing", 1), ("?category=outdoor", 2), ("categories", 1), ("999", 1)],
)
@pytest.mark.parametrize("products", [1, 30])
def test_the_number_of_queries_does_not_grow_with_the_catalogue(
    client: Client, make_product: MakeProduct, path: str, queries: int, products: int
) -> None:
    for number in range(products):
        make_product(f"outdoor/part{number}", featured=True)
    with CaptureQueriesContext(connection) as captured:
        client.get(LIST + path)
    assert len(captured) == queries, captured.captured_queries


def test_a_list_is_never_an_unbounded_query(client: Client, make_product: MakeProduct) -> None:
    make_product()
    with CaptureQueriesContext(connection) as captured:
        client.get(f"{LIST}?{urlencode({'limit': '9' * 20, 'q': 'thing'})}")
    assert captured.captured_queries[-1]["sql"].endswith("LIMIT 101")
