"""How often each list of the catalogue asks the database: with one product or forty, for the first time and again."""

from __future__ import annotations

import pytest
from django.test import Client
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
def test_a_list_asks_as_often_for_many_as_for_one_and_a_kept_one_not_at_all(
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
