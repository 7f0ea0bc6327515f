"""The API's answers bear the tags by which a change purges them from a CDN: all that show it, and
no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.db import transaction
from django.test import Client
from scaleout.caching import invalidated
from scaleout.cdn.tags import written

from shop.products.models import Category, Product
from shop.products.tests.conftest import MakeProduct

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])


@pytest.fixture
def told() -> Iterator[list[set[str]]]:
    heard: list[set[str]] = []

    def hear(tags: set[str], **_: Any) -> None:
        heard.append({written(tag) for tag in tags})

    invalidated.connect(hear, dispatch_uid="test")
    yield heard
    invalidated.disconnect(dispatch_uid="test")


def tags(path: str) -> set[str]:
    answer = Client().get(path)
    assert answer.headers["Cache-Control"] == "public, max-age=0"  # a browser asks each time: nothing purges it
    assert answer.headers["CDN-Cache-Control"].startswith("public, max-age=30, ")
    return set(answer.headers["Surrogate-Key"].split())


def test_a_change_is_told_after_the_commit_with_the_tags_of_what_shows_it(
    make_product: MakeProduct, told: list[set[str]]
) -> None:
    tent, stove = make_product("outdoor/tents", name="Lark"), make_product("outdoor/stoves")
    answers = {
        path: tags(path)
        for path in (
            f"/api/products/{tent.pk}", f"/api/products/{stove.pk}", "/api/products/",
            "/api/products/?category=outdoor-tents", "/api/products/?category=outdoor-stoves",
            "/api/products/?q=lark", "/api/products/categories",
        )
    }  # fmt: skip
    told.clear()
    with transaction.atomic():
        Product.objects.filter(pk=tent.pk).update(price_amount=4711)
        assert not told, "nobody else sees it yet"
    purged = {path for path, its in answers.items() if any(its & heard for heard in told)}
    assert purged == {
        f"/api/products/{tent.pk}", "/api/products/", "/api/products/?category=outdoor-tents", "/api/products/?q=lark",
    }  # fmt: skip


def test_a_category_that_is_renamed_purges_every_answer_that_shows_its_name(
    make_product: MakeProduct, told: list[set[str]]
) -> None:
    tent = make_product("outdoor/tents", name="Lark", featured=True)
    answers = {
        path: tags(path)
        for path in (
            f"/api/products/{tent.pk}", "/api/products/", "/api/products/?featured=true",
            "/api/products/?category=outdoor-tents", "/api/products/?q=lark", "/api/products/categories",
        )
    }  # fmt: skip
    told.clear()
    Category.objects.filter(slug="outdoor-tents").update(name="Shelters")
    assert {path for path, its in answers.items() if any(its & heard for heard in told)} == set(answers)


def test_an_answer_bears_the_same_tags_wherever_its_value_was(make_product: MakeProduct, told: list[set[str]]) -> None:
    path = f"/api/products/{make_product('outdoor/tents').pk}"
    computed, of_the_process = tags(path), tags(path)
    caches["local"].clear()
    assert computed == of_the_process == tags(path)


def test_what_is_rolled_back_is_told_to_nobody(make_product: MakeProduct, told: list[set[str]]) -> None:
    tent = make_product("outdoor/tents")
    told.clear()
    with transaction.atomic():
        Product.objects.filter(pk=tent.pk).update(price_amount=4711)
        transaction.set_rollback(True)
    assert not told


def test_an_error_of_a_public_view_is_not_kept(told: list[set[str]]) -> None:
    for path in ("/api/products/999999", "/api/products/?limit=no", "/api/products/?category=nothing"):
        answer = Client().get(path)
        assert answer.status_code in (400, 404)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Surrogate-Key" not in answer.headers
