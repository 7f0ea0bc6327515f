"""Decode an untrusted image, turn it upright, and encode its pixels as WebP, without metadata."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from shop.products.images import image_end

MOST_BYTES = 8_388_608
MOST_PIXELS = 16_000_000  # 64 MB decoded; encoding a WebP takes 300 MB
MOST_SIDE = 8_000
LONGEST_SIDE = 1_600  # of the stored image
QUALITY = 85
_PATIENCE = 0.5  # seconds to wait for the previous image
_FORMATS = {"JPEG": image_end.jpeg, "PNG": image_end.png, "WEBP": image_end.webp}
_TURNS = {  # the turn that makes an image upright, by its orientation (EXIF 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TYPES = ("image/jpeg", "image/png", "image/webp")

# A process decodes one image at a time, so that its memory stays bounded.
_turn = threading.Semaphore(1)


class BadImageError(ValueError):
    """The image is rejected: the message is the problem's detail, `status` its status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Busy(Exception):  # noqa: N818 - a state
    """The process was still decoding another image after the time-out."""


class Picture(NamedTuple):
    """A WebP image."""

    data: bytes
    width: int


def normalise(data: bytes) -> Picture:
    """Return the picture in `data`. Raises BadImageError, Busy.

    The decoder decides the format; the file's name and declared type are ignored. The size in
    pixels is checked before decoding.
    """
    if len(data) > MOST_BYTES:
        raise BadImageError(413, f"The image has more than {MOST_BYTES} bytes. Send a smaller file.")
    with _alone():
        image = _opened(data)
        try:
            with image:
                turned = _TURNS.get(_orientation(image))
                image = _with_colours(_of_eight_bits(image))
                image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
                image.load()
                upright = image if turned is None else image.transpose(turned)
                return Picture(encode(upright), upright.width)
        except Exception as error:  # Pillow raises many types for damaged input
            raise BadImageError(422, "The image is damaged or truncated. Send a complete file.") from error


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation; None if it cannot be read."""
    try:
        return image.getexif().get(0x0112)
    except Exception:  # cameras write invalid EXIF; the pixels are still good
        return None


def _with_colours(image: Image.Image) -> Image.Image:
    """Return a palette or black-and-white image in RGB: the resampler cannot average the former."""
    if image.mode not in ("1", "P", "PA"):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def smaller(image: Image.Image, width: int) -> bytes:
    """Return the picture resized to this width, as WebP."""
    height = max(1, round(image.height * width / image.width))
    return encode(image.resize((width, height), Image.Resampling.LANCZOS), effort=4)


def encode(image: Image.Image, effort: int = 1) -> bytes:
    """Return the pixels as WebP without metadata. `effort` is from 0 to 6."""
    bare = image.convert("RGBA" if image.has_transparency_data else "RGB")
    bare.info = {}
    result = io.BytesIO()
    bare.save(result, "WEBP", quality=QUALITY, method=effort)
    return result.getvalue()


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit greyscale image scaled to 8 bits: Pillow would clip it to white."""
    if not image.mode.startswith("I"):
        return image
    image.info.pop("transparency", None)  # a 16-bit value, invalid after the scaling
    return image.point(lambda value: value * (1 / 256)).convert("L")


def _opened(data: bytes) -> Image.Image:
    """Return the image, checked but not yet decoded. Raises BadImageError."""
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
        width, height, frames = *image.size, getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # Pillow raises many types for damaged input
        raise BadImageError(415, "The file is not a JPEG, PNG or WebP image.") from error
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise _too_many_pixels()
    # Pillow reports a JPEG with several pictures as MPO.
    if frames != 1 or image.format not in _FORMATS:
        raise BadImageError(422, "The file has several images or an animation. Send one still image.")
    try:
        end = _FORMATS[image.format](data)
    except (ValueError, IndexError) as error:
        raise BadImageError(422, "The image is damaged or truncated. Send a complete file.") from error
    if data[end:].strip(b"\0"):
        raise BadImageError(422, "The file has data after the end of the image. Send the image only.")
    return image


def _too_many_pixels() -> BadImageError:
    return BadImageError(422, f"The image has more than {MOST_PIXELS} pixels, or a side over {MOST_SIDE}. Shrink it.")


@contextmanager
def _alone() -> Iterator[None]:
    if not _turn.acquire(timeout=_PATIENCE):
        raise Busy
    try:
        yield
    finally:
        _turn.release()
