import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from shop.products.models import SLUG_MAX
from shop.products.tests.conftest import MakeProduct, category_at
from shop.storefront.illustrations import GENERIC, illustration

pytestmark = pytest.mark.django_db


def page(client: Client, path: str, status: int = 200, **params: str) -> str:
    answer = client.get(path, params, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    return answer.content.decode()


def test_the_front_page_shows_featured_products_and_categories(client: Client, make_product: MakeProduct) -> None:
    shown = make_product("outdoor/tents", name="Lark", featured=True, price_amount=129900)
    make_product(name="Hidden")
    html = page(client, "/")
    assert f'href="/products/{shown.pk}/"' in html
    assert "Lark" in html
    assert "€1,299.00" in html
    assert "Hidden" not in html
    assert 'href="/categories/outdoor/"' in html
    assert 'href="/categories/outdoor-tents/"' in html


def test_the_front_page_of_an_empty_shop_says_how_to_fill_it(client: Client) -> None:
    assert "load_demo" in page(client, "/")


def test_a_product_page_shows_the_products_facts(client: Client, make_product: MakeProduct) -> None:
    product = make_product(
        name="Kiri <b>", description="One & only.\n\nReally.", price_amount=1980, currency="JPY", stock=2
    )
    other = make_product(name="Neighbour")
    html = page(client, f"/products/{product.pk}/")
    assert "<h1>Kiri &lt;b&gt;</h1>" in html
    assert "<p>One &amp; only.</p>" in html
    assert "¥1,980" in html
    assert "Only 2 left" in html
    assert f'href="/products/{other.pk}/"' in html
    assert 'src="/static/storefront/categories/outdoor-tents.svg"' in html


@pytest.mark.parametrize(("stock", "text"), [(0, "Sold out"), (5, "Only 5 left"), (6, "In stock: 6")])
def test_a_product_page_shows_the_stock(client: Client, make_product: MakeProduct, stock: int, text: str) -> None:
    assert text in page(client, f"/products/{make_product(stock=stock).pk}/")


def test_a_product_with_a_picture_of_its_own_shows_it(client: Client, make_product: MakeProduct) -> None:
    product = make_product(name="Lark", image_url='/media/a.jpg"onerror=')
    assert 'src="/media/a.jpg&quot;onerror=" alt="Lark"' in page(client, f"/products/{product.pk}/")


def test_the_pages_of_a_category_lead_through_all_its_products(client: Client, make_product: MakeProduct) -> None:
    ids = [make_product("outdoor/tents").pk for _ in range(50)]
    seen: list[int] = []
    path: str | None = "/categories/outdoor/"
    while path:
        html = page(client, path)
        seen += map(int, re.findall(r'href="/products/(\d+)/"', html))
        following = re.search(r'rel="next" href="([^"]+)">Next', html)
        path = following[1].replace("&amp;", "&") if following else None
    assert seen == ids


def test_a_search_finds_and_pages(client: Client, make_product: MakeProduct) -> None:
    for number in range(30):
        make_product(name=f"Kettle & co {number}")
    html = page(client, "/search/", q='kettle "& co"')
    assert "Results for “kettle &quot;&amp; co&quot;”" in html
    following = re.search(r'rel="next" href="([^"]+)">Next', html)
    assert following
    html = page(client, following[1].replace("&amp;", "&"))
    assert html.count('class="card drawn"') == 6
    assert "Back to the first page" in html


def test_a_search_without_words_and_one_without_results_say_so(client: Client) -> None:
    assert "Type a word or two" in page(client, "/search/")
    assert "Nothing found" in page(client, "/search/", q="zzqqyy")


@pytest.mark.parametrize("params", [{"q": "a\0b"}, {"q": "a" * 10_000}, {"q": "a", "cursor": "nonsense"}])
def test_an_invalid_search_is_a_400_page(client: Client, params: dict[str, str]) -> None:
    assert "This search is not possible" in page(client, "/search/", 400, **params)


@pytest.mark.parametrize(
    "path",
    [
        "/products/0/",
        "/products/999999/",
        f"/products/{'9' * 30}/",
        "/products/abc/",
        "/products/%00/",
        "/categories/nowhere/",
        "/categories/%00/",
        "/categories/outdoor/?cursor=nonsense",
        "/nowhere/",
    ],
)
def test_a_missing_page_is_a_404_page(client: Client, path: str) -> None:
    category_at("outdoor")
    assert "There is nothing at this address" in page(client, path, 404)


def test_an_impossible_slug_is_a_404_page_without_a_query(client: Client) -> None:
    for length, queries in ((SLUG_MAX, 1), (SLUG_MAX + 1, 0)):
        with CaptureQueriesContext(connection) as captured:
            assert "There is nothing at this address" in page(client, f"/categories/{'a' * length}/", 404)
        assert len(captured) == queries, captured.captured_queries


@pytest.mark.parametrize("path", ["/", "/search/", "/categories/outdoor/"])
def test_pages_are_read_only(client: Client, path: str) -> None:
    category_at("outdoor")
    assert client.post(path).status_code == 405
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "queries"),
    [("/", 2), ("/products/{id}/", 4), ("/categories/outdoor/", 2), ("/search/?q=thing", 2), ("/search/", 1)],
)
@pytest.mark.parametrize("products", [1, 40])
def test_the_number_of_queries_does_not_grow_with_the_catalogue(
    client: Client, make_product: MakeProduct, path: str, queries: int, products: int
) -> None:
    for number in range(products):
        product = make_product(f"outdoor/part{number}", featured=True)
    with CaptureQueriesContext(connection) as captured:
        page(client, path.format(id=product.pk))
    assert len(captured) == queries, captured.captured_queries


def test_the_error_page_needs_no_request_and_no_database(settings: Settings) -> None:
    settings.ROOT_URLCONF = "config.service_urls"  # a service without the shop's pages
    with CaptureQueriesContext(connection) as captured:
        assert "Something went wrong on our side" in render_to_string("500.html")
    assert len(captured) == 0


def test_the_foot_names_the_replica_only_where_the_settings_allow_it(client: Client, settings: Settings) -> None:
    settings.REPLICA_NAME = "web-7"
    settings.EXPOSE_TOPOLOGY = True
    assert "Served by <code>web-7</code>" in page(client, "/")
    settings.EXPOSE_TOPOLOGY = False
    assert "web-7" not in page(client, "/")


@pytest.mark.parametrize(
    ("slug", "file"),
    [
        ("coffee", "storefront/categories/coffee.svg"),
        ("coffee-beans", "storefront/categories/coffee-beans.svg"),
        ("coffee-beans-green", "storefront/categories/coffee-beans.svg"),
        ("coffee-mugs", "storefront/categories/coffee.svg"),
        ("coffeehouse", GENERIC),
        ("debian-games", GENERIC),
        ("..-..-settings", GENERIC),
        ("", GENERIC),
    ],
)
def test_a_category_has_its_drawing_or_that_of_the_nearest_above(slug: str, file: str) -> None:
    assert illustration(slug) == file
    assert finders.find(file)


def test_no_page_holds_a_script_or_a_style_of_its_own() -> None:
    for template in (Path(__file__).parents[1] / "templates").rglob("*.html"):
        text = template.read_text("utf-8")
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", text), template
