"""The pages that visitors see first, computed at a start."""

from collections.abc import Iterator

from scaleout.caching import warmer
from scaleout.caching.warming import Call

from shop.products import catalog
from shop.products.tree import CategoryTree
from shop.storefront import pages


@warmer("front-page")
def front_page() -> Iterator[Call]:
    yield (pages.front,)


@warmer("categories")
def categories() -> Iterator[Call]:
    """Yield the first pages of the top two levels; deeper ones of a large tree are rarely read."""
    for root in CategoryTree().roots:
        yield pages.category, root.slug
        yield from ((pages.category, child.slug) for child in root.children)


@warmer("featured-products")
def featured_products() -> Iterator[Call]:
    for product in catalog.find(featured=True, limit=pages.FEATURED).items:
        yield pages.product, product.pk
