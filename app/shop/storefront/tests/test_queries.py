"""The number of queries of each list: with one product or forty, uncached and cached."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings
from scaleout.gateway.edge import views
from scaleout.replication import metrics

from shop.products.tests.conftest import MakeProduct

ALIASES = ("default", "replica1", "replica2")
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/products/", [1, 0]),
        ("/api/products/?featured=true", [1, 0]),
        ("/api/products/?category=outdoor", [2, 0]),
        ("/api/products/?q=thing", [1, 1]),
        ("/api/products/categories", [1, 0]),
        ("/", [2, 0]),
        ("/categories/outdoor/", [2, 0]),
        ("/search/?q=thing", [2, 2]),
    ],
)
@pytest.mark.parametrize("products", [1, 40])
def test_a_list_takes_as_many_queries_for_many_as_for_one_and_none_from_the_cache(
    client: Client, make_product: MakeProduct, path: str, asked: list[int], products: int
) -> None:
    for number in range(products):
        make_product(f"outdoor/part{number}", featured=True)

    def count() -> int:
        return sum(int(metrics.queries.labels(alias)._value.get()) for alias in ALIASES)

    def queries() -> int:
        before = count()
        assert client.get(path, headers={"accept": "text/html"}).status_code == 200
        return count() - before

    assert [queries(), queries()] == asked


@pytest.mark.parametrize("path", ["/api/products/{}", "/products/{}/"])
def test_a_missing_product_is_cached_and_a_new_one_is_seen_at_once(
    client: Client, make_product: MakeProduct, path: str
) -> None:
    products = [make_product() for _ in range(3)]
    gone, last = products[1].pk, products[2].pk
    products[1].delete()

    def missing(key: int) -> int:
        before = sum(int(metrics.queries.labels(alias)._value.get()) for alias in ALIASES)
        assert client.get(path.format(key)).status_code == 404
        return sum(int(metrics.queries.labels(alias)._value.get()) for alias in ALIASES) - before

    assert [missing(last + 1), missing(last + 1), missing(last + 2), missing(10**17)] == [1, 0, 0, 0]
    assert [missing(gone), missing(gone)] == [1, 0]
    assert client.get(path.format(make_product().pk)).status_code == 200
    assert "lists" not in client.get(f"/api/products/{last}").headers["Surrogate-Key"].split()


def test_a_caller_searches_no_more_often_than_the_api_may_be_called(client: Client, settings: Settings) -> None:
    settings.GATEWAY = settings.GATEWAY | {"RATE": 2}
    views._from_settings.cache_clear()
    try:
        answers = [client.get("/search/", {"q": "thing"}, headers={"accept": "text/html"}) for _ in range(3)]
    finally:
        views._from_settings.cache_clear()
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2]["Retry-After"]) > 0
    assert "Too many searches" in answers[2].content.decode()
