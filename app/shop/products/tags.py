"""What shows what: the tags of cached values, and what a change of rows invalidates.

A page bears the tag of each product that it has read, so a product that changes or goes takes with
it what shows it. One that comes is on no page yet: for it a page bears the tags of the lists that
it would be on.
"""

from collections.abc import Collection, Iterable

from scaleout.caching import Change, bind, depends

from shop.products.models import Category, Product
from shop.products.tree import Node

ALL = "products"  # every value that shows any product
CATEGORIES = "categories"  # every value that shows the tree, or the category of a product
FEATURED = "featured"  # lists of featured products
LISTS = "lists"  # lists of all products, and what counts them
MANY = 500  # products in one change; with more, everything that shows any is invalid


def product(key: int) -> str:
    return f"product:{key}"


def shelf(category: int) -> str:
    """Of the lists that a product in this category is on."""
    return f"shelf:{category}"


def read(products: Iterable[Product]) -> None:
    """Say that the value that is being computed shows these products, each with its category."""
    depends(ALL, CATEGORIES, *(product(one.pk) for one in products))


def depends_on_list(category: Node | None, featured: bool | None) -> None:
    """Say that the value that is being computed shows a list: what comes onto it makes the value
    wrong.
    """
    if category is not None:
        depends(ALL, *(shelf(node.id) for node in category.subtree()))
    if featured:
        depends(ALL, FEATURED)
    if featured is False or (category is None and not featured):
        depends(ALL, LISTS)


def of_products(
    ids: Collection[int], *, shelves: Iterable[object] = (), featured: bool = False, lists: bool = False
) -> set[str]:
    """What is invalid when these products have changed, were put into the categories `shelves`,
    became featured, or came into or went from any list.
    """
    categories = {one for one in shelves if isinstance(one, int)}
    if len(ids) > MANY or len(categories) < len(set(shelves)):  # an expression: nobody knows which
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
    """Let every change by Django's ORM invalidate what shows the rows."""
    bind(Product, _of_change)
    bind(Category, lambda _change: {CATEGORIES})
