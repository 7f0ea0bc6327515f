"""Cache tags: which cached values show which rows, and what a change of rows invalidates.

A page has the tag of each product that it shows. So a changed or deleted product invalidates it.
A new product is on no page yet, so a page also has the tags of its lists.
"""

from collections.abc import Collection, Iterable

from scaleout.caching import Change, bind, depends

from shop.products.models import Category, Product
from shop.products.tree import Node

ALL = "products"  # every value that shows any product
CATEGORIES = "categories"  # every value that shows the tree, or the category of a product
FEATURED = "featured"  # lists of featured products
LISTS = "lists"  # lists of all products, and their counts
MANY = 500  # products in one change; a larger one invalidates every value that shows a product


def product(key: int) -> str:
    return f"product:{key}"


def shelf(category: int) -> str:
    """Return the tag of the lists that show products of this category."""
    return f"shelf:{category}"


def read(products: Iterable[Product]) -> None:
    """Tag the value being computed: it shows these products, each with its category."""
    depends(ALL, CATEGORIES, *(product(one.pk) for one in products))


def depends_on_list(category: Node | None, featured: bool | None) -> None:
    """Tag the value being computed: it shows a list, and a product added to it invalidates it."""
    if category is not None:
        depends(ALL, *(shelf(node.id) for node in category.subtree()))
    if featured:
        depends(ALL, FEATURED)
    if featured is False or (category is None and not featured):
        depends(ALL, LISTS)


def of_products(
    ids: Collection[int], *, shelves: Iterable[object] = (), featured: bool = False, lists: bool = False
) -> set[str]:
    """Return the tags that a change of these products invalidates.

    `shelves`: the categories that they were put into. `featured`: they became featured.
    `lists`: they were added to or removed from a list.
    """
    categories = {one for one in shelves if isinstance(one, int)}
    if len(ids) > MANY or len(categories) < len(set(shelves)):  # an SQL expression: the categories are unknown
        return {ALL}
    tags = {product(key) for key in ids} | {shelf(one) for one in categories}
    return tags | ({FEATURED} if featured else set()) | ({LISTS} if lists or categories else set())


def _of_change(change: Change) -> set[str]:
    featured = change.written.get("featured", ())
    return of_products(
        change.ids,
        shelves=[*change.written.get("category_id", ())],
        featured=any(value is not False for value in featured),
        lists=bool(featured) or not change.written,
    )


def bind_models() -> None:
    """Let each change by Django's ORM invalidate the values that show the rows."""
    bind(Product, _of_change)
    bind(Category, lambda _change: {CATEGORIES})
