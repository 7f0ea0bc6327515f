import base64
import struct
import zlib

import pytest

from shop.products import cursors


@pytest.mark.parametrize("number", [0, 1, 24, 2**31, 2**53, 2**63 - 1])
def test_a_cursor_gives_back_its_id(number: int) -> None:
    assert cursors.decode(cursors.encode(number)) == number


def test_a_cursor_with_any_one_character_changed_is_refused() -> None:
    cursor = cursors.encode(123456)
    for place in range(len(cursor)):
        for other in "AZaz09-_=.":
            damaged = cursor[:place] + other + cursor[place + 1 :]
            if damaged != cursor:
                with pytest.raises(cursors.BadCursorError):
                    cursors.decode(damaged)


def made_by_hand(version: int, number: int) -> str:
    body = struct.pack(">BQ", version, number)
    return base64.urlsafe_b64encode(body + struct.pack(">I", zlib.crc32(body))).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "1",
        "A" * 18,
        "A" * 10_000,
        "\0" * 18,
        "é" * 18,
        "🙂" * 18,
        made_by_hand(2, 1),
        made_by_hand(1, 2**63),
    ],
)
def test_an_invalid_cursor_is_rejected(text: str) -> None:
    with pytest.raises(cursors.BadCursorError):
        cursors.decode(text)
