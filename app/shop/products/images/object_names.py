"""The names of objects, and the URLs at which browsers read them. This module makes no calls."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from django.conf import settings

# `image_url` of a stored image is the object's name. No import can set such a name: it begins with
# neither http nor /.
PREFIX = "products/"
INCOMING = "incoming/"
WIDTHS = (320, 640, 1280)  # widths of the variants in pixels
TOKEN_BYTES = 16


def of_content(data: bytes) -> str:
    """Return the name of an object with this content."""
    return f"{PREFIX}{hashlib.sha256(data).hexdigest()[:32]}.webp"


def variant(name: str, width: int) -> str:
    """Return the name of the variant of this width."""
    return f"{name.removesuffix('.webp')}-{width}.webp"


def widths(of: int) -> Iterable[int]:
    """Return the widths of the variants of an image that is `of` pixels wide."""
    return (width for width in WIDTHS if width < of)


def incoming(product: int, token: str) -> str:
    """Return the name of the object that a browser uploads."""
    return f"{INCOMING}{product}/{token}"


def fresh_token() -> str:
    return secrets.token_hex(TOKEN_BYTES)


def is_stored(image_url: str) -> bool:
    """Return whether it is the name of a stored object."""
    return image_url.startswith(PREFIX)


def is_address_of_stored(url: str) -> bool:
    """Return whether it is the URL of a stored object."""
    return url.removeprefix(settings.MEDIA_URL).startswith(PREFIX)


def url(image_url: str) -> str:
    """Return the URL of an image: an import's URL as it is, or that of the stored object."""
    return f"{settings.MEDIA_URL}{image_url}" if is_stored(image_url) else image_url


def srcset(image_url: str, width: int) -> str:
    """Return the `srcset`: the variants and the image by width; empty without variants.

    `width` is 0 until the variants are made.
    """
    smaller = [(one, variant(image_url, one)) for one in widths(width)]
    if not is_stored(image_url) or not smaller:
        return ""
    return ", ".join(f"{url(name)} {one}w" for one, name in [*smaller, (width, image_url)])
