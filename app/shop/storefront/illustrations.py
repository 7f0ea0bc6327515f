"""The drawing of a category: its own, else that of its nearest ancestor, else a parcel."""

from pathlib import Path

_FOLDER = "storefront/categories"
_DRAWN = frozenset(file.stem for file in (Path(__file__).parent / "static" / _FOLDER).glob("*.svg"))
GENERIC = "storefront/parcel.svg"


def illustration(slug: str) -> str:
    """Return the static file's name. A slug begins with its parent's slug: ``outdoor-tents``."""
    while slug and slug not in _DRAWN:
        slug = slug.rpartition("-")[0]
    return f"{_FOLDER}/{slug}.svg" if slug else GENERIC
