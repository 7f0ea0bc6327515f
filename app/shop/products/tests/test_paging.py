import pytest
from django.db import connection
from django.test import Client

from shop.products import catalog
from shop.products.models import Product
from shop.products.tests.conftest import MakeProduct, category_at
from shop.products.tree import CategoryTree

pytestmark = pytest.mark.django_db


def walk(client: Client, *, during: MakeProduct | None = None, **params: str | int) -> list[int]:
    """Return the ids of all pages; ``during`` adds and deletes products between the pages."""
    seen: list[int] = []
    cursor = ""
    while True:
        page = client.get("/api/products/", params | {"cursor": cursor}).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return seen
        cursor = page["next"]
        if during and len(seen) < 60:
            during(name=f"Late {len(seen)}", sku=f"L-{len(seen)}")
            Product.objects.filter(pk=seen[-1]).delete()  # the very product that the cursor names


@pytest.mark.parametrize("limit", [1, 7, 24, 30, 31, 100])
def test_the_pages_hold_every_product_once_in_order(client: Client, make_product: MakeProduct, limit: int) -> None:
    ids = [make_product().pk for _ in range(30)]
    assert walk(client, limit=limit) == ids


def test_products_added_and_deleted_between_pages_cause_no_gap_and_no_duplicate(
    client: Client, make_product: MakeProduct
) -> None:
    ids = [make_product().pk for _ in range(40)]
    seen = walk(client, during=make_product, limit=8)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert set(ids) <= set(seen)


def test_a_page_that_ends_with_the_last_product_has_no_next(client: Client, make_product: MakeProduct) -> None:
    for _ in range(24):
        make_product()
    assert client.get("/api/products/").json()["next"] is None


def test_pages_of_a_filter_hold_what_the_filter_finds(client: Client, make_product: MakeProduct) -> None:
    wanted = [make_product("outdoor", featured=n % 3 == 0).pk for n in range(30)][::3]
    assert walk(client, category="outdoor", featured="true", q="thing", limit=4) == wanted


def fill(products: int) -> None:
    """Insert many products into one category and a few into another, by one statement."""
    few, many = category_at("few").pk, category_at("many").pk
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO products_product
                (sku, name, description, category_id, price_amount, currency, stock, sold, featured, image_url)
            SELECT 'S' || n, md5(n::text), 'word' || n %% 997, CASE n %% 200 WHEN 0 THEN %s ELSE %s END,
                   n, 'EUR', 0, 0, n %% 5000 = 0, ''
            FROM generate_series(1, %s) n
            """,
            [few, many, products],
        )
        cursor.execute("ANALYZE products_product")


def test_a_large_catalogue_is_read_through_its_indexes() -> None:
    fill(20_000)
    few = CategoryTree().by_slug["few"]
    products = catalog.products().order_by("pk")
    plans = {
        "product_by_category": products.filter(category=few.id, pk__gt=9000),
        "product_featured": products.filter(featured=True, pk__gt=0),
        "product_search": products.filter(catalog.matching("word17"), pk__gt=0),
        "product_name_trigrams": products.filter(catalog.matching("zzqqyy"), pk__gt=0),
        "products_product_pkey": products.filter(pk__gt=9000),
    }
    for index, query in plans.items():
        plan = query[:25].explain()
        assert f"{index} " in plan, plan
        assert "Seq Scan on products_product" not in plan
