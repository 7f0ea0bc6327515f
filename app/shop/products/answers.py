"""The bodies of the API's answers, cached as JSON text, which is immutable."""

import json
from collections.abc import Collection
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from scaleout.caching import multi_level_cache
from scaleout.cdn import weak_etag
from scaleout.problems import Problem

from shop.products import catalog
from shop.products.images import object_names
from shop.products.models import Product
from shop.products.tree import CategoryTree

TIMEOUT = 300.0  # seconds; a change past the ORM shows after it


def as_json(product: Product) -> dict[str, Any]:
    return {
        "id": product.pk,
        "sku": product.sku,
        "name": product.name,
        "description": product.description,
        "category": {"slug": product.category.slug, "name": product.category.name},
        "price": {"amount": product.price_amount, "currency": product.currency},
        "stock": product.stock,
        "sold": product.sold,
        "featured": product.featured,
        "image_url": object_names.url(product.image_url),
    }


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, cls=DjangoJSONEncoder)


def search(slug: str, featured: bool | None, query: str, after: int, limit: int) -> str:
    """Return a page of products. Not cached: the number of queries is unbounded.

    Raises Problem (404) for an unknown category.
    """
    category = None
    if slug:
        category = CategoryTree().by_slug.get(slug)
        if category is None:
            raise Problem(404, "This category does not exist. GET /api/products/categories lists all.")
    page = catalog.find(category=category, featured=featured, query=query, after=after, limit=limit)
    return _text({"items": [as_json(product) for product in page.items], "next": page.next})


def several(keys: Collection[int]) -> str:
    """Return the products with these ids. Not cached: each order asks for another set."""
    return _text({"items": [as_json(product) for product in catalog.several(keys)], "next": None})


@multi_level_cache(timeout=TIMEOUT)
def listing(slug: str = "", featured: bool | None = None, after: int = 0, limit: int = catalog.PAGE_SIZE) -> str:
    """Return a page of products without a query, cached."""
    return search(slug, featured, "", after, limit)


def etag(product: Product) -> str:
    """Return the ETag of the answer that shows the product in its current state."""
    return weak_etag(_text(as_json(product)))


@multi_level_cache(timeout=TIMEOUT)
def detail(key: int) -> str:
    """Return one product; an empty text if it does not exist."""
    product = catalog.product(key)
    return "" if product is None else _text(as_json(product))


@multi_level_cache(timeout=TIMEOUT)
def categories() -> str:
    """Return the whole tree; ``products`` of a category includes its descendants'."""
    tree = CategoryTree(count_products=True)
    return _text({"items": [root.as_json() for root in tree.roots], "next": None})
