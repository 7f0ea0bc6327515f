"""Read the catalogue through the API."""

from __future__ import annotations

from typing import Any

from support.client import Site


def everything(site: Site, query: str = "") -> list[dict[str, Any]]:
    """Follow `next` from page to page and return all items."""
    items: list[dict[str, Any]] = []
    cursor = ""
    with site.session() as caller:
        for _ in range(2000):
            page = caller.get(f"/api/products/?limit=100&{query}&cursor={cursor}").json()
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items
    raise AssertionError("the list does not end")


def flatten(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tree's nodes as a list."""
    return [node for top in categories for node in [top, *flatten(top["children"])]]
