"""Which drawing stands for a category: its own, else the nearest one above it, else a parcel."""

from pathlib import Path

_FOLDER = "storefront/categories"
_DRAWN = frozenset(file.stem for file in (Path(__file__).parent / "static" / _FOLDER).glob("*.svg"))
GENERIC = "storefront/parcel.svg"


def illustration(slug: str) -> str:
    """The static file's name. A slug begins with its parent's: ``outdoor-tents`` is below
    ``outdoor``.
    """
    while slug and slug not in _DRAWN:
        slug = slug.rpartition("-")[0]
    return f"{_FOLDER}/{slug}.svg" if slug else GENERIC
