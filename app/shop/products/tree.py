"""The category tree, loaded by one query: it has tens of nodes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from scaleout.caching import depends

from shop.products.models import Category, Product


@dataclass(slots=True)
class Node:
    id: int
    slug: str
    name: str
    own_products: int = 0
    parent: "Node | None" = field(default=None, repr=False)
    children: list["Node"] = field(default_factory=list, repr=False)

    @property
    def path(self) -> "list[Node]":
        """The nodes from a root down to this node."""
        nodes = [self]
        while (parent := nodes[-1].parent) is not None:
            nodes.append(parent)
        return nodes[::-1]

    def subtree(self) -> "Iterator[Node]":
        """Yield this node and its descendants."""
        yield self
        for child in self.children:
            yield from child.subtree()

    def as_json(self) -> dict[str, Any]:
        """Return the node as in the API; ``products`` includes its descendants'."""
        return {
            "slug": self.slug,
            "name": self.name,
            "products": sum(node.own_products for node in self.subtree()),
            "children": [child.as_json() for child in self.children],
        }


class CategoryTree:
    """All categories, ordered by position and name among siblings."""

    def __init__(self, *, count_products: bool = False, using: str | None = None) -> None:
        """Run one query. ``count_products`` adds the counts, which scan an index of products."""
        depends("categories", *(("lists", "products") if count_products else ()))  # names of products.tags
        categories: QuerySet[Category] = Category.objects.using(using).order_by("position", "name", "id")
        if count_products:
            counts = (
                Product.objects.filter(category=OuterRef("pk"))
                .order_by()
                .values("category")
                .annotate(n=Count("*"))
                .values("n")
            )
            categories = categories.annotate(own_products=Coalesce(Subquery(counts), 0))
        self.by_id: dict[int, Node] = {}
        self.by_slug: dict[str, Node] = {}
        self.roots: list[Node] = []
        rows = list(categories)
        for row in rows:
            node = Node(row.pk, row.slug, row.name, getattr(row, "own_products", 0))
            self.by_id[node.id] = self.by_slug[node.slug] = node
        for row in rows:
            node = self.by_id[row.pk]
            if row.parent_id is None:
                self.roots.append(node)
            else:
                node.parent = self.by_id[row.parent_id]
                node.parent.children.append(node)
        self._cut_cycles()

    def _cut_cycles(self) -> None:
        """Turn categories that SQL has linked in a cycle into roots, so that each walk ends."""
        reached = {node.id for root in self.roots for node in root.subtree()}
        for node in self.by_id.values():
            if node.id not in reached and node.parent is not None:
                node.parent.children.remove(node)
                node.parent = None
                self.roots.append(node)
                reached |= {below.id for below in node.subtree()}
