"""From anybody's bytes to a picture of our own: decoded, turned upright, encoded anew, with nothing
but its pixels.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from shop.products.images import ends

MOST_BYTES = 8_388_608
MOST_PIXELS = 16_000_000  # decoded they are 64 MB, and a WebP takes 300 MB meanwhile
MOST_SIDE = 8_000
LONGEST_SIDE = 1_600  # of what is kept
QUALITY = 85
_PATIENCE = 0.5  # seconds for the image before
_FORMATS = {"JPEG": ends.jpeg, "PNG": ends.png, "WEBP": ends.webp}
_TURNS = {  # what makes an image upright, by its orientation (EXIF 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TYPES = ("image/jpeg", "image/png", "image/webp")

# One at a time in each process, so that several together do not fill its memory.
_turn = threading.Semaphore(1)


class BadImageError(ValueError):
    """It is not kept; the message says why, and `status` what kind of mistake it is."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Busy(Exception):  # noqa: N818 - a state
    """Another image takes longer than we wait."""


class Picture(NamedTuple):
    """A WebP."""

    data: bytes
    width: int


def normalise(data: bytes) -> Picture:
    """Return the picture in `data`. Raises BadImageError, Busy.

    What it is, is what it can be decoded as; its name and its declared type say nothing. Its size
    is read and judged before it is decoded.
    """
    if len(data) > MOST_BYTES:
        raise BadImageError(413, f"The image is larger than {MOST_BYTES} bytes.")
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
        except Exception as error:  # Pillow raises whatever it stumbles over
            raise BadImageError(422, "The image is damaged or not complete.") from error


def _orientation(image: Image.Image) -> Any:
    """Return how the camera was held, as EXIF has it; None where that can't be read."""
    try:
        return image.getexif().get(0x0112)
    except Exception:  # cameras write odd things there, which say nothing of the pixels
        return None


def _with_colours(image: Image.Image) -> Image.Image:
    """Return an image of a palette, or of black and white, with colours instead: those can't be
    averaged.
    """
    if image.mode not in ("1", "P", "PA"):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def smaller(image: Image.Image, width: int) -> bytes:
    """Return the picture with this width."""
    height = max(1, round(image.height * width / image.width))
    return encode(image.resize((width, height), Image.Resampling.LANCZOS), effort=4)


def encode(image: Image.Image, effort: int = 1) -> bytes:
    """Return the pixels as WebP, and nothing else that the image holds. `effort` is from 0 to 6."""
    bare = image.convert("RGBA" if image.has_transparency_data else "RGB")
    bare.info = {}
    result = io.BytesIO()
    bare.save(result, "WEBP", quality=QUALITY, method=effort)
    return result.getvalue()


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Return a greyscale image of 16 bits scaled to 8: Pillow would clip it, which leaves a white
    one.
    """
    if not image.mode.startswith("I"):
        return image
    image.info.pop("transparency", None)  # a value of 16 bits, which says nothing of what is left
    return image.point(lambda value: value * (1 / 256)).convert("L")


def _opened(data: bytes) -> Image.Image:
    """Return the image, not decoded yet. Raises BadImageError."""
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
        width, height, frames = *image.size, getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # as above
        raise BadImageError(415, "This is not a JPEG, PNG or WebP image.") from error
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise _too_many_pixels()
    # A JPEG with several pictures in it calls itself an MPO.
    if frames != 1 or image.format not in _FORMATS:
        raise BadImageError(422, "The image moves, or there are several in the file: one still image is wanted.")
    try:
        end = _FORMATS[image.format](data)
    except (ValueError, IndexError) as error:
        raise BadImageError(422, "The image is damaged or not complete.") from error
    if data[end:].strip(b"\0"):
        raise BadImageError(422, "There is something else in the file, after the end of the image.")
    return image


def _too_many_pixels() -> BadImageError:
    return BadImageError(422, f"The image has more than {MOST_PIXELS} pixels, or a side of more than {MOST_SIDE}.")


@contextmanager
def _alone() -> Iterator[None]:
    if not _turn.acquire(timeout=_PATIENCE):
        raise Busy
    try:
        yield
    finally:
        _turn.release()
