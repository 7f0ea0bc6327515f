"""The shop's pages without their footer, cached as text, which is immutable.

The footer names the replica that answers, so each replica adds its own.
"""

from urllib.parse import urlencode

from django.http import Http404
from django.template.loader import render_to_string
from django.urls import reverse
from scaleout.caching import multi_level_cache

from shop.products import catalog
from shop.products.tree import CategoryTree

TIMEOUT = 300.0  # seconds; a change past the ORM shows after it
FEATURED = 12
RELATED = 4
LOW_STOCK = 5


def _render(template: str, context: dict[str, object]) -> str:
    return render_to_string(f"storefront/{template}.html", context | {"without_foot": True})


@multi_level_cache(timeout=TIMEOUT)
def front() -> str:
    tree = CategoryTree()
    featured = catalog.find(featured=True, limit=FEATURED).items
    return _render("front", {"roots": tree.roots, "products": featured})


@multi_level_cache(timeout=TIMEOUT)
def product(key: int) -> str:
    """Return the product's page; an empty text if the product does not exist."""
    shown = catalog.product(key)
    if shown is None:
        return ""
    # The product's own database: a lagging replica may not have the category yet.
    tree = CategoryTree(using=shown._state.db)
    category = tree.by_id[shown.category_id]
    neighbours = catalog.find(category=category, limit=RELATED + 1).items
    context = {
        "roots": tree.roots,
        "product": shown,
        "path": category.path,
        "low_stock": LOW_STOCK,
        "related": [other for other in neighbours if other.pk != shown.pk][:RELATED],
    }
    return _render("product", context)


@multi_level_cache(timeout=TIMEOUT)
def category(slug: str, after: int = 0) -> str:
    """Return a page of the category. Raises Http404."""
    tree = CategoryTree()
    node = tree.by_slug.get(slug)
    if node is None:
        raise Http404
    page = catalog.find(category=node, after=after)
    here = reverse("storefront:category", args=[slug])
    context = {
        "roots": tree.roots,
        "category": node,
        "path": node.path[:-1],
        "products": page.items,
        "first_page": here if after else "",
        "next_page": f"{here}?{urlencode({'cursor': page.next})}" if page.next else "",
    }
    return _render("category", context)
