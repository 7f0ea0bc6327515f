"""Images, and their upload by staff."""

from __future__ import annotations

import io
import secrets
from typing import Any

import requests
from PIL import Image

from support.client import Site
from support.services import Person


def image(kind: str = "JPEG", size: tuple[int, int] = (1600, 1200), **options: Any) -> bytes:
    """Return a new random picture, saved with `options`."""
    made = Image.new("RGB", size, tuple(secrets.token_bytes(3)))
    made.paste(Image.frombytes("RGB", (8, 8), secrets.token_bytes(192)).resize((size[0] // 2, size[1] // 2)), (0, 0))
    result = io.BytesIO()
    made.save(result, kind, **options)
    return result.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the picture in `data`."""
    return Image.open(io.BytesIO(data))


def send(site: Site, product: int, data: bytes, who: Person | None) -> requests.Response:
    """Upload an image as a form does."""
    headers = who.headers if who else {}
    return site.post(f"/api/products/{product}/image", files={"image": ("photo.jpg", data)}, headers=headers)


def presigned(site: Site, product: int, who: Person, **announced: Any) -> requests.Response:
    """Request a presigned URL for a browser's upload."""
    return site.post(f"/api/products/{product}/image-upload", json=announced, headers=who.headers)
