"""`/api/products/…` of the contract."""

from __future__ import annotations

import pytest
from support.catalogue import everything, flatten
from support.client import Site, assert_problem
from support.wait import eventually

FIELDS = {
    "id", "sku", "name", "description", "category", "price", "stock", "sold", "featured", "image_url",
}  # fmt: skip


def test_a_product_has_the_shape_of_the_contract(site: Site, product: int) -> None:
    answer = site.get(f"/api/products/{product}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    item = answer.json()
    assert item.keys() >= FIELDS
    assert item["id"] == product
    assert isinstance(item["price"]["amount"], int)
    assert len(item["price"]["currency"]) == 3
    assert isinstance(item["stock"], int)
    assert isinstance(item["featured"], bool)


def test_a_list_has_items_and_a_cursor_to_the_next_page(site: Site) -> None:
    page = site.get("/api/products/").json()
    assert page.keys() == {"items", "next"}
    assert page["items"]
    assert all(item.keys() >= FIELDS for item in page["items"])
    assert page["next"]


def test_paging_by_cursor_gives_every_product_once_and_in_order(site: Site) -> None:
    tree = site.get("/api/products/categories").json()["items"]
    # The demo's own categories: the imported package index, where it is loaded, would take minutes.
    for top in [one for one in tree if one["products"] <= 1000]:
        ids = [item["id"] for item in everything(site, f"category={top['slug']}")]
        assert ids == sorted(set(ids))
        assert len(ids) == top["products"], top["slug"]


def test_the_demo_catalogue_is_there(site: Site) -> None:
    nodes = flatten(site.get("/api/products/categories").json()["items"])
    assert len(nodes) >= 12
    assert sum(one["products"] for one in site.get("/api/products/categories").json()["items"]) >= 150


def test_a_category_lists_its_own_products_and_those_of_the_categories_below(site: Site) -> None:
    tree = site.get("/api/products/categories").json()["items"]
    top = next(one for one in tree if one["children"] and 0 < one["products"] <= 1000)
    slugs = {node["slug"] for node in flatten([top])}
    found = {item["category"]["slug"] for item in everything(site, f"category={top['slug']}")}
    assert found <= slugs
    assert len(found) > 1


def test_featured_lists_only_the_featured_or_only_the_others(site: Site) -> None:
    yes = site.get("/api/products/?featured=true&limit=100").json()["items"]
    no = site.get("/api/products/?featured=false&limit=100").json()["items"]
    assert yes
    assert no
    assert all(item["featured"] for item in yes)
    assert not any(item["featured"] for item in no)


def test_a_search_finds_a_product_by_a_word_of_its_name(site: Site, product: int) -> None:
    item = site.get(f"/api/products/{product}").json()
    word = max(item["name"].split(), key=len)
    found = site.get("/api/products/", params={"q": word, "category": item["category"]["slug"], "limit": "100"})
    assert product in [one["id"] for one in found.json()["items"]]


def test_a_search_that_finds_nothing_is_an_empty_list(site: Site) -> None:
    assert site.get("/api/products/?q=xyzzyplughnothing").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=many", "limit=1.5", "featured=maybe", "cursor=nonsense", "cursor=%00",
        "q=%00", f"q={'a' * 5000}", "cursor=AAAAAAAAAAAAAAAAAA",
    ],
)  # fmt: skip
def test_bad_input_is_a_problem_of_the_caller(site: Site, query: str) -> None:
    answer = site.get(f"/api/products/?{query}")
    assert 400 <= answer.status_code < 500
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("value", ["99999999999999999999999999", "' OR 1=1 --", "%F0%9F%92%A9", "%FF%FE", "a" * 200])
def test_odd_input_never_makes_an_error_of_the_server(site: Site, value: str) -> None:
    for name in ("limit", "cursor", "category", "featured", "q"):
        assert site.get(f"/api/products/?{name}={value}").status_code < 500, name
    assert site.get(f"/api/products/{value}").status_code < 500


def test_a_product_that_does_not_exist_is_a_problem(site: Site) -> None:
    for name in ("0", "999999999999", "abc", "-1"):
        assert_problem(site.get(f"/api/products/{name}"), 404)


def test_a_category_that_does_not_exist_is_a_problem(site: Site) -> None:
    assert_problem(site.get("/api/products/?category=no-such-category"), 404)


def test_a_service_that_does_not_exist_is_a_problem_even_for_a_browser(site: Site) -> None:
    for path in ("/api/nothing/", "/api/nothing/here", "/api/", "/api"):
        answer = site.get(path, headers={"Accept": "text/html"})
        if answer.status_code in (301, 308):
            continue
        assert_problem(answer, 404)


def test_a_method_that_does_not_exist_there_is_refused_with_those_that_do(site: Site) -> None:
    answer = site.request("PUT", "/api/products/categories")
    assert_problem(answer, 405)
    assert "GET" in answer.headers["Allow"]


def test_head_answers_as_get_without_the_body(site: Site) -> None:
    answer = site.request("HEAD", "/api/products/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert not answer.content


def test_reads_are_spread_over_both_replicas_of_the_database(site: Site) -> None:
    def seen() -> set[str]:
        with site.session() as caller:
            return {caller.get("/api/products/?q=e&limit=1").headers["X-Database"] for _ in range(40)}

    # A replica that pauses for a moment is not read until it has caught up.
    eventually("answers of both, and of no other", seen, lambda found: found == {"replica1", "replica2"}, within=10)
