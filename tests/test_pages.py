"""The pages of the storefront."""

from __future__ import annotations

import re

import pytest
from support.client import BROWSER, Site, assert_problem
from support.wait import eventually


def test_the_front_page_shows_featured_products_and_the_categories(site: Site) -> None:
    answer = site.get("/", headers={"Accept": BROWSER})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    featured = site.get("/api/products/?featured=true&limit=100").json()["items"]
    assert featured
    shown = [one for one in featured if f"/products/{one['id']}/" in answer.text]
    assert shown, "no featured product is linked from the front page"
    for category in site.get("/api/products/categories").json()["items"]:
        assert category["slug"] in answer.text, category


def test_every_link_of_the_front_page_leads_somewhere(site: Site) -> None:
    page = site.get("/", headers={"Accept": BROWSER}).text
    links = sorted(set(re.findall(r'(?:href|src)="(/[^"#]*)"', page)))
    assert len(links) > 10
    broken = {link: status for link in links if (status := site.get(link.replace("&amp;", "&")).status_code) != 200}
    assert not broken


def test_a_product_has_a_page_with_its_name_and_price(site: Site, product: int) -> None:
    described = site.get(f"/api/products/{product}").json()
    answer = site.get(f"/products/{product}/", headers={"Accept": BROWSER})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    words = re.sub(r"&#x27;|&#39;", "'", answer.text.replace("&amp;", "&").replace("&quot;", '"'))
    assert described["name"] in words
    assert f"{described['price']['amount'] // 100:,}" in words


@pytest.mark.parametrize("path", ["/products/0/", "/products/999999999999/", "/products/abc/", "/nothing/here"])
def test_an_address_with_nothing_there_is_a_page_for_browsers_and_a_problem_for_programs(site: Site, path: str) -> None:
    page = site.get(path, headers={"Accept": BROWSER})
    assert page.status_code == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert_problem(site.get(path), 404)  # as curl asks: Accept */*


def test_the_pages_say_how_they_may_be_embedded_and_typed(site: Site) -> None:
    headers = site.get("/").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_pages_are_compressed_for_those_who_can_read_it(site: Site) -> None:
    def both() -> tuple[str, str]:
        plain = site.get("/", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        packed = site.get("/", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "accept-encoding" in packed.headers.get("Vary", "").lower()
        # The page names the replica that made it.
        return re.sub(r"web-\d+", "", packed.text), re.sub(r"web-\d+", "", plain.text)

    # The events of earlier orders may change the page between the two.
    eventually("the same page, packed and plain", both, lambda pages: pages[0] == pages[1], within=10)


def test_a_static_file_may_be_kept_for_a_year_because_its_name_has_its_hash(site: Site) -> None:
    page = site.get("/", headers={"Accept": BROWSER}).text
    names = re.findall(r'"(/static/[^"]+)"', page)
    assert names, "the front page names no static file"
    hashed = re.compile(r"/static/.+\.[0-9a-f]{8,}\.\w+$")
    for name in sorted(set(names)):
        assert hashed.match(name), f"{name} has no hash in its name"
        answer = site.get(name)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", name
        assert answer.content


def test_a_static_file_that_does_not_exist_is_not_found_and_not_kept(site: Site) -> None:
    answer = site.get("/static/nothing.0123456789ab.css")
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("Cache-Control", "")
