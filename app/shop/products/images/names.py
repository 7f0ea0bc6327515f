"""The names of objects, and the addresses that browsers find them by. Nothing here needs the
store.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from django.conf import settings

# Of an image that is stored `image_url` holds the name, which no import can make: it begins with
# neither http nor /.
PREFIX = "products/"
INCOMING = "incoming/"
WIDTHS = (320, 640, 1280)  # of the variants, in pixels
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
    """Return the name under which a browser leaves a file for us."""
    return f"{INCOMING}{product}/{token}"


def fresh_token() -> str:
    return secrets.token_hex(TOKEN_BYTES)


def is_stored(image_url: str) -> bool:
    """Whether it is the name of an object of ours."""
    return image_url.startswith(PREFIX)


def is_address_of_stored(url: str) -> bool:
    """Whether it is the address at which an object of ours is read."""
    return url.removeprefix(settings.MEDIA_URL).startswith(PREFIX)


def url(image_url: str) -> str:
    """Return the address of an image: what an import has said, or where the store's objects are
    read.
    """
    return f"{settings.MEDIA_URL}{image_url}" if is_stored(image_url) else image_url


def srcset(image_url: str, width: int) -> str:
    """Return the variants and the image itself by width, empty where there are no variants (yet:
    `width` is 0).
    """
    smaller = [(one, variant(image_url, one)) for one in widths(width)]
    if not is_stored(image_url) or not smaller:
        return ""
    return ", ".join(f"{url(name)} {one}w" for one, name in [*smaller, (width, image_url)])
