"""Files for the tests: valid images and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Return a picture with a red upper left quarter, which shows how it was turned."""
    image = Image.new(mode, (width, height), "white")
    image.paste("red", (0, 0, width // 2, height // 2))
    return image


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return the picture as a file."""
    result = io.BytesIO()
    (image or picture()).save(result, kind, **options)
    return result.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, *, body: bytes = b"") -> bytes:
    """Return a PNG that declares this size, independent of its content."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(body)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def moving(kind: str) -> bytes:
    frames = [picture(), Image.new("RGB", (64, 48), "blue")]
    return encoded(kind, frames[0], save_all=True, append_images=frames[1:], duration=100)


def many_scans(scans: int) -> bytes:
    """Return a progressive JPEG that repeats its only scan."""
    data = encoded("JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    return data[:first] + data[first:second] * scans + data[first:]


HOSTILE: dict[str, tuple[int, bytes]] = {
    "empty": (415, b""),
    "text": (415, b"hello"),
    "a page": (415, b"<html><script>alert(1)</script>"),
    "a drawing with a script": (415, b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    "a GIF": (415, encoded("GIF")),
    "a BMP": (415, encoded("BMP")),
    "a TIFF": (415, encoded("TIFF")),
    "an ICO": (415, encoded("ICO")),
    "PostScript": (415, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "an archive": (415, b"PK\x03\x04" + bytes(100)),
    "the beginning of a JPEG": (415, b"\xff\xd8\xff"),
    "the beginning of a PNG": (415, b"\x89PNG\r\n\x1a\n"),
    "the beginning of a WebP": (415, b"RIFF\x10\0\0\0WEBPVP8 "),
    "half a JPEG": (422, encoded("JPEG", picture(400, 300))[:-700]),
    "half a PNG": (422, encoded("PNG", Image.effect_noise((90, 90), 50))[:-700]),
    "half a WebP": (415, encoded("WEBP", Image.effect_noise((90, 90), 50))[:-700]),
    "a JPEG without its end": (422, encoded("JPEG")[:-2]),
    "a PNG without its end": (422, encoded("PNG")[:-12]),
    "a JPEG with an archive behind it": (422, encoded("JPEG") + b"PK\x03\x04" + bytes(100) + b"PK\x05\x06"),
    "a PNG with a page behind it": (422, encoded("PNG") + b"<script>alert(1)</script>"),
    "a WebP with a program behind it": (422, encoded("WEBP") + b"#!/bin/sh\nreboot\n"),
    "two JPEGs in a row": (422, encoded("JPEG") * 2),
    "a moving PNG": (422, moving("PNG")),
    "a moving WebP": (422, moving("WEBP")),
    "several pictures in a JPEG": (422, moving("MPO")),
    "a PNG of 60,000 by 60,000": (422, png_of(60_000, 60_000)),
    "a PNG of 2 billion by 2 billion": (422, png_of(2**31 - 1, 2**31 - 1)),
    "a PNG that is too wide": (422, png_of(8_001, 1)),
    "a PNG with a little too many pixels": (422, png_of(4_001, 4_000)),
    "a PNG with fewer pixels than it says": (422, png_of(3_000, 3_000, body=b"\0" * 100)),
    "a PNG of no width": (415, png_of(0, 10)),
    "a WebP of 16,383 by 16,383": (422, encoded("WEBP", Image.new("L", (2, 2))).replace(
        struct.pack("<HH", 2, 2), struct.pack("<HH", 16_383, 16_383), 1)),
    "a progressive JPEG of a thousand scans": (422, many_scans(1_000)),
    "a PNG with a bomb of text": (415, encoded("PNG")[:33]
        + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70_000_000))) + encoded("PNG")[33:]),
    "too many bytes": (413, encoded("JPEG") + bytes(8_388_608)),
}  # fmt: skip
