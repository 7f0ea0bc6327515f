"""Queries of the catalogue: pages of products by keyset, and one product."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib.postgres.search import SearchQuery
from django.db.models import Q, QuerySet
from scaleout.caching import depends, multi_level_cache, unshown
from scaleout.replication import use_primary

from shop.products import cursors, tags
from shop.products.models import Product
from shop.products.tree import Node

TIMEOUT = 300.0  # seconds; a change past the ORM shows after it
PAGE_SIZE = 24
PAGE_SIZE_MAX = 100
# A shorter word has no trigram, so the index cannot find it inside a name.
SUBSTRING_MIN = 3


def product(key: int) -> Product | None:
    """Return one product with its category; None if it does not exist."""
    depends(tags.ALL, tags.CATEGORIES, tags.product(key))
    found = products().filter(pk=key).first()
    if found is None:
        depends(tags.LISTS)  # a product that is added to any list may be this one
    return found


@multi_level_cache(timeout=TIMEOUT)
def _largest() -> int:
    """Return the largest id of a product."""
    depends(tags.ALL, tags.LISTS)
    return Product.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def may_exist(key: int) -> bool:
    """Return whether a product can have this id.

    An id that was never assigned costs no query and no cache entry. The cache keeps only deleted
    products as missing.
    """
    with unshown():  # otherwise the answer has these tags, and each new product purges every page
        return key <= _largest()


def several(keys: Collection[int]) -> list[Product]:
    """Return those of these products that exist, by id, in one query.

    The primary answers: an order needs the price that staff may have changed a moment ago.
    """
    depends(tags.ALL, tags.CATEGORIES, *map(tags.product, keys))
    with use_primary():
        return list(products().filter(pk__in=keys).order_by("pk"))


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[Product]
    next: str | None


def products() -> QuerySet[Product]:
    """Return all products with their category, in one query."""
    return Product.objects.select_related("category")


def matching(query: str) -> Q:
    """Return the condition for a search.

    A product matches if its text has these words (websearch syntax), or its name contains `query`.
    """
    by_name = {"name__icontains": query} if len(query) >= SUBSTRING_MIN else {"name__istartswith": query}
    return Q(search=SearchQuery(query, config="english", search_type="websearch")) | Q(**by_name)


def find(
    *,
    category: Node | None = None,
    featured: bool | None = None,
    query: str = "",
    after: int = 0,
    limit: int = PAGE_SIZE,
) -> Page:
    """Return the page of products with ids above ``after``: one query of ``limit + 1`` rows."""
    tags.depends_on_list(category, featured)
    found = products().filter(pk__gt=after)
    if category is not None:
        ids = [node.id for node in category.subtree()]
        found = found.filter(category__in=ids) if len(ids) > 1 else found.filter(category=ids[0])
    if featured is not None:
        found = found.filter(featured=featured)
    if query:
        found = found.filter(matching(query))
    rows = list(found.order_by("pk")[: limit + 1])
    tags.read(rows)  # the extra row too: it decides whether a next page exists
    items = rows[:limit]
    return Page(items, cursors.encode(items[-1].pk) if len(rows) > limit else None)
