"""Untrusted images become safe pictures, or are rejected."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from waiting import TIME_FACTOR, in_time

from shop.products.images import pictures
from shop.products.tests.pictures import HOSTILE, encoded, opened, picture


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_of_each_kind_becomes_a_webp_of_the_same_size(kind: str, mode: str) -> None:
    kept = pictures.normalise(encoded(kind, picture(mode=mode)))
    image = opened(kept.data)
    assert (image.format, image.size, kept.width) == ("WEBP", (64, 48), 64)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("PNG", "1"), ("PNG", "P"), ("PNG", "I;16")])
def test_odd_ways_to_write_colours_are_understood(kind: str, mode: str) -> None:
    image = Image.new(mode, (64, 48)) if mode in ("1", "P", "I;16") else picture().convert(mode)
    assert opened(pictures.normalise(encoded(kind, image)).data).mode == "RGB"


def test_a_greyscale_picture_of_16_bits_keeps_its_greys() -> None:
    image = Image.frombytes("I;16", (64, 48), (30_000).to_bytes(2, "little") * 32 * 48 + b"\xff\xff" * 32 * 48)
    for options in ({}, {"transparency": 30_000}):
        kept = opened(pictures.normalise(encoded("PNG", image, **options)).data).convert("L")
        assert abs(kept.getpixel((5, 5)) - 117) <= 2  # type: ignore[operator]  # one number
        assert kept.getpixel((58, 42)) >= 253  # type: ignore[operator]  # one number


def test_what_is_transparent_stays_so() -> None:
    image = Image.new("RGBA", (64, 48), (255, 0, 0, 0))
    kept = opened(pictures.normalise(encoded("PNG", image)).data)
    assert kept.mode == "RGBA"
    assert kept.getpixel((5, 5))[3] == 0  # type: ignore[index]  # four numbers


@pytest.mark.parametrize("mode", ["P", "1"])
def test_a_large_picture_of_few_colours_is_averaged(mode: str) -> None:
    board = Image.new("L", (3200, 3200))
    board.putdata([255 * ((n + n // 3200) % 2) for n in range(3200 * 3200)])
    kept = opened(pictures.normalise(encoded("PNG", board.convert(mode, dither=Image.Dither.NONE))).data).convert("L")
    assert abs(kept.getpixel((800, 800)) - 127) <= 4  # type: ignore[operator]  # one number


def test_invalid_exif_of_a_camera_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, IFDRational(1, 1)
    whole = encoded("JPEG", picture(), exif=exif)
    odd = whole.replace(bytes.fromhex("0000000100000001"), bytes.fromhex("ffffffff00000000"), 1)
    assert odd != whole
    assert pictures.normalise(odd).width == 48, "turned, as the readable rest says"
    assert pictures.normalise(whole.replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*", 1)).width == 64


def test_a_large_picture_is_kept_smaller() -> None:
    kept = pictures.normalise(encoded("JPEG", picture(4000, 3000)))
    assert (kept.width, opened(kept.data).size) == (1600, (1600, 1200))


def test_a_picture_of_a_phone_is_turned_upright_and_loses_its_location() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    exif[0x010E] = "at home"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    kept = pictures.normalise(
        encoded("JPEG", picture(), exif=exif, comment=b"secret comment", icc_profile=b"secret profile")
    )
    image = opened(kept.data)
    assert (kept.width, image.size) == (48, (48, 64))
    red = image.convert("RGB").getpixel((40, 5))
    assert isinstance(red, tuple)
    assert red[0] > 200
    assert red[1] < 80
    assert not {"exif", "icc_profile", "xmp", "comment"} & image.info.keys()
    assert b"secret" not in kept.data
    assert b"home" not in kept.data


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert pictures.normalise(encoded("PNG")) == pictures.normalise(encoded("PNG"))


def test_zeros_after_the_end_are_accepted_as_some_cameras_write_them() -> None:
    assert pictures.normalise(encoded("JPEG") + bytes(512)).width == 64


def test_a_progressive_jpeg_is_a_jpeg() -> None:
    assert pictures.normalise(encoded("JPEG", progressive=True)).width == 64


@pytest.mark.parametrize(("status", "data"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_not_a_still_image_is_rejected_with_a_reason(status: int, data: bytes) -> None:
    with in_time(), pytest.raises(pictures.BadImageError) as refusal:
        pictures.normalise(data)
    assert refusal.value.status == status
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_with_any_byte_changed_is_a_picture_or_refused_and_never_anything_else(kind: str) -> None:
    good = encoded(kind)
    for position in range(0, len(good), 3):
        for value in (0, 0xFF, good[position] ^ 0x55):
            bad = good[:position] + bytes([value]) + good[position + 1 :]
            try:
                assert opened(pictures.normalise(bad).data).format == "WEBP"
            except pictures.BadImageError:
                continue


@pytest.mark.parametrize("filler", [b"\xff\x01", b"\xff\xd0", b"\xff\xd8", b"\xff\xe0\0\2", b"\xff\xfe\0\2"])
def test_endless_markers_do_not_delay_other_images(filler: bytes) -> None:
    data = encoded("JPEG")
    began = time.monotonic()
    with suppress(pictures.BadImageError):
        pictures.normalise(data[:-2] + filler * (8_000_000 // len(filler)) + data[-2:])
    assert time.monotonic() - began < 1 * TIME_FACTOR


def test_a_variant_has_its_width_and_the_same_shape() -> None:
    assert opened(pictures.smaller(picture(640, 480), 320)).size == (320, 240)
    assert opened(pictures.smaller(picture(2000, 1), 320)).size == (320, 1)


def test_a_second_image_waits_for_the_first_and_then_raises_busy() -> None:
    with pictures._turn:
        failed = threading.Event()

        def ask() -> None:
            with pytest.raises(pictures.Busy):
                pictures.normalise(encoded("PNG"))
            failed.set()

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(5 * TIME_FACTOR)
        assert failed.is_set()
    assert pictures.normalise(encoded("PNG")).width == 64
