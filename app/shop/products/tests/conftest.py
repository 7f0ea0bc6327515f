from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from shop.products.models import Category, Product


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


type MakeProduct = Callable[..., Product]
type ImportFile = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = "shop.products.tests.urls"


def category_at(path: str) -> Category:
    """Return the category at a path such as outdoor/tents; create missing ones."""
    parent: Category | None = None
    parts = path.split("/")
    for depth, part in enumerate(parts, start=1):
        parent, _ = Category.objects.get_or_create(
            slug="-".join(parts[:depth]), defaults={"parent": parent, "name": part.capitalize()}
        )
    assert parent is not None
    return parent


@pytest.fixture
def make_product(db: None) -> MakeProduct:
    """A function that creates a product, with defaults."""
    numbers = count(1)

    def make(path: str = "outdoor/tents", **fields: object) -> Product:
        number = next(numbers)
        values: dict[str, object] = {
            "sku": f"SKU-{number}",
            "name": f"Thing {number}",
            "price_amount": 1299,
            "stock": 5,
        }
        return Product.objects.create(category=category_at(path), **(values | fields))

    return make


@pytest.fixture
def import_file(tmp_path: Path) -> ImportFile:
    """A function that writes a file and imports it: ``import_file("a.csv", text)``."""

    def run(name: str, content: str | bytes, **options: object) -> Outcome:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return import_path(str(path), **options)

    return run


def import_path(path: str, **options: object) -> Outcome:
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command("import_catalog", path, stdout=out, stderr=err, **options)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except CommandError as error:
        code = error.returncode
        err.write(f"{error}\n")
    return Outcome(code, out.getvalue(), err.getvalue())
