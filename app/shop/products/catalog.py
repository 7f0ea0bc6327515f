"""What is asked of the catalogue: pages of products by keyset, and one product."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib.postgres.search import SearchQuery
from django.db.models import Q, QuerySet
from scaleout.caching import depends, multi_level_cache, unshown
from scaleout.replication import use_primary

from shop.products import cursors, tags
from shop.products.models import Product
from shop.products.tree import Node

TIMEOUT = 300.0  # seconds; for what is changed past the ORM
PAGE_SIZE = 24
PAGE_SIZE_MAX = 100
# Shorter words have no trigram of their own: the index could not find them inside a name.
SUBSTRING_MIN = 3


def product(key: int) -> Product | None:
    """One product with its category."""
    depends(tags.ALL, tags.CATEGORIES, tags.product(key))
    found = products().filter(pk=key).first()
    if found is None:
        depends(tags.LISTS)  # what comes onto any list may be this one
    return found


@multi_level_cache(timeout=TIMEOUT)
def _largest() -> int:
    """The largest id of a product."""
    depends(tags.ALL, tags.LISTS)
    return Product.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def may_exist(key: int) -> bool:
    """Whether a product can have this id. So an id that was never given out costs no query, and no
    place in the cache: only what was deleted is kept there as missing.
    """
    with unshown():  # or the answer would have its tags, and each new product purge every page
        return key <= _largest()


def several(keys: Collection[int]) -> list[Product]:
    """Those of these products that there are, by id, in one query.

    At the primary: an order asks, of a product that staff may have made or priced anew a moment
    ago.
    """
    depends(tags.ALL, tags.CATEGORIES, *map(tags.product, keys))
    with use_primary():
        return list(products().filter(pk__in=keys).order_by("pk"))


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[Product]
    next: str | None


def products() -> QuerySet[Product]:
    """All products with their category, in one query."""
    return Product.objects.select_related("category")


def matching(query: str) -> Q:
    """Products whose text has these words (websearch syntax), or whose name contains them as they
    stand.
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
    """The page of products with an id above ``after``: one query, and never more than ``limit + 1``
    rows.
    """
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
    tags.read(rows)  # the one too many as well: it decides whether there is a next page
    items = rows[:limit]
    return Page(items, cursors.encode(items[-1].pk) if len(rows) > limit else None)
