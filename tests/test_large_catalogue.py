"""`make load-large`: Debian's own package index as a catalogue of real size."""

from __future__ import annotations

import gzip
import lzma
import re
import subprocess

import pytest
from support.catalogue import flatten
from support.client import BROWSER, Site
from support.stack import Stack, run

# The importer's promises in small: app/shop/products/tests/test_import_*.py and test_paging.py.
pytestmark = pytest.mark.long
INDEX = "/usr/share/scale-out"
SECONDS = 300  # that the import may take


def debian(site: Site) -> int:
    """Return how many products the catalogue has under the category `debian`."""
    tree = site.get("/api/products/categories").json()["items"]
    return sum(node["products"] for node in flatten(tree) if node["slug"] == "debian")


def unpack(name: str, content: bytes) -> str:
    """Return the text of an index as apt keeps it."""
    if name.endswith(".xz"):
        content = lzma.decompress(content)
    elif name.endswith(".gz"):
        content = gzip.decompress(content)
    return content.decode("utf-8")


@pytest.fixture(scope="module")
def index(stack: Stack) -> list[str]:
    """The names of the packages in the index of the image, read independently of the importer."""
    names = stack.run_in("web", "ls", INDEX).split()
    assert names
    packages: list[str] = []
    for name in names:
        content = subprocess.run(
            ["docker", "exec", stack.container("web").id, "cat", f"{INDEX}/{name}"],
            stdout=subprocess.PIPE, timeout=60, check=True,
        ).stdout  # fmt: skip
        packages += re.findall(r"(?m)^Package: (\S+)$", unpack(name, content))
    return packages


@pytest.fixture(scope="module")
def printed(stack: Stack) -> str:
    """The output of `make load-large`."""
    return run("make", "load-large", timeout=SECONDS)


def test_it_prints_its_duration(printed: str) -> None:
    assert re.search(r"\d+(\.\d+)? s\b", printed), printed[-2000:]


def test_the_catalogue_has_exactly_the_packages_of_the_index(printed: str, index: list[str], site: Site) -> None:
    assert len(index) > 50_000
    assert debian(site) == len(set(index))


def test_a_second_import_changes_nothing(printed: str, site: Site) -> None:
    before = debian(site)
    run("make", "load-large", timeout=SECONDS)
    assert debian(site) == before


def test_search_and_storefront_serve_the_imported_packages(printed: str, site: Site) -> None:
    found = site.get("/api/products/", params={"q": "postgresql-17", "limit": "100"}).json()["items"]
    names = [item["name"] for item in found]
    assert any("postgresql-17" in name for name in names), names
    one = next(item for item in found if "postgresql-17" in item["name"])
    page = site.get(f"/products/{one['id']}/", headers={"Accept": BROWSER})
    assert page.status_code == 200
    assert one["name"] in page.text


def test_the_first_pages_of_the_large_category_are_whole_and_in_order(printed: str, site: Site) -> None:
    ids: list[int] = []
    cursor = ""
    for _ in range(20):
        page = site.get(f"/api/products/?category=debian&limit=100&cursor={cursor}").json()
        ids += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(ids) == 2000
    assert ids == sorted(set(ids))
