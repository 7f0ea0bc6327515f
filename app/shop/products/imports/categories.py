"""Category paths of a file, matched with the tree. A missing category is named after its slug."""

from shop.products.imports.rows import RejectedError
from shop.products.models import Category
from shop.products.tree import CategoryTree


class CategoryPaths:
    """Category ids by path: ``outdoor/tents`` has the slug ``outdoor-tents`` below ``outdoor``.

    Use it inside a transaction.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._ids: dict[str, int] = {}
        self._known: dict[str, int | None] = {}  # slug to its parent's id
        for node in CategoryTree(using=using).by_id.values():
            self._ids[node.slug] = node.id
            self._known[node.slug] = node.parent.id if node.parent else None

    def id_of(self, path: str) -> int:
        """Return the category's id; create the category if it is missing.

        Raises RejectedError if a slug has another parent.
        """
        missing: list[tuple[str, str]] = []
        parent: int | None = None
        parts = path.split("/")
        for depth, part in enumerate(parts, start=1):
            slug = "-".join(parts[:depth])
            if slug not in self._ids:
                missing.append((slug, part))
            elif missing or self._known[slug] != parent:
                raise RejectedError(f"category {path}: {slug} is another category's slug")
            else:
                parent = self._ids[slug]
        for slug, part in missing:
            name = part.replace("-", " ").capitalize()
            created = Category.objects.using(self._using).create(parent_id=parent, slug=slug, name=name)
            self._ids[slug], self._known[slug] = created.pk, parent
            parent = created.pk
        if parent is None:
            raise RejectedError("category is missing")
        return parent
