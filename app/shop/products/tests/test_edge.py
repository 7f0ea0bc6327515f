"""The API's cache tags: a change purges exactly the answers that show it from a CDN."""

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
def purges() -> Iterator[list[set[str]]]:
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


def test_a_change_purges_the_answers_that_show_it_after_the_commit(
    make_product: MakeProduct, purges: list[set[str]]
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
    purges.clear()
    with transaction.atomic():
        Product.objects.filter(pk=tent.pk).update(price_amount=4711)
        assert not purges, "the change is not committed yet"
    purged = {path for path, its in answers.items() if any(its & purge for purge in purges)}
    assert purged == {
        f"/api/products/{tent.pk}", "/api/products/", "/api/products/?category=outdoor-tents", "/api/products/?q=lark",
    }  # fmt: skip


def test_a_category_that_is_renamed_purges_every_answer_that_shows_its_name(
    make_product: MakeProduct, purges: list[set[str]]
) -> None:
    tent = make_product("outdoor/tents", name="Lark", featured=True)
    answers = {
        path: tags(path)
        for path in (
            f"/api/products/{tent.pk}", "/api/products/", "/api/products/?featured=true",
            "/api/products/?category=outdoor-tents", "/api/products/?q=lark", "/api/products/categories",
        )
    }  # fmt: skip
    purges.clear()
    Category.objects.filter(slug="outdoor-tents").update(name="Shelters")
    assert {path for path, its in answers.items() if any(its & purge for purge in purges)} == set(answers)


def test_an_answer_has_the_same_tags_from_each_cache_level(make_product: MakeProduct, purges: list[set[str]]) -> None:
    path = f"/api/products/{make_product('outdoor/tents').pk}"
    computed, of_the_process = tags(path), tags(path)
    caches["local"].clear()
    assert computed == of_the_process == tags(path)


def test_a_rolled_back_change_purges_no_answer(make_product: MakeProduct, purges: list[set[str]]) -> None:
    tent = make_product("outdoor/tents")
    purges.clear()
    with transaction.atomic():
        Product.objects.filter(pk=tent.pk).update(price_amount=4711)
        transaction.set_rollback(True)
    assert not purges


def test_an_error_of_a_public_view_is_not_cached(purges: list[set[str]]) -> None:
    for path in ("/api/products/999999", "/api/products/?limit=no", "/api/products/?category=nothing"):
        answer = Client().get(path)
        assert answer.status_code in (400, 404)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Surrogate-Key" not in answer.headers
