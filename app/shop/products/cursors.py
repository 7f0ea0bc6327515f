"""Page cursors: opaque, URL-safe, with a checksum that detects damage.

A cursor is not secret and grants no right. So it needs no signature, and services share no key.
"""

import base64
import binascii
import struct
import zlib

VERSION = 1
_FORMAT = struct.Struct(">BQ")
_CHECKSUM = struct.Struct(">I")
_LENGTH = 18  # 13 bytes as base64 without padding
_ID_MAX = 2**63 - 1


class BadCursorError(ValueError):
    """The text is not a cursor that ``encode`` made."""


def encode(last_id: int) -> str:
    """Return the cursor for the page that begins after this id."""
    body = _FORMAT.pack(VERSION, last_id)
    return base64.urlsafe_b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode().rstrip("=")


def decode(text: str) -> int:
    """Return the id in a cursor. Raises BadCursorError."""
    if len(text) != _LENGTH or not text.isascii():
        raise BadCursorError("not a cursor of this API")
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise BadCursorError("not a cursor of this API") from error
    body, checksum = raw[: _FORMAT.size], raw[_FORMAT.size :]
    if _CHECKSUM.pack(zlib.crc32(body)) != checksum:
        raise BadCursorError("not a cursor of this API")
    version, last_id = _FORMAT.unpack(body)
    if version != VERSION or last_id > _ID_MAX or encode(last_id) != text:
        raise BadCursorError("not a cursor of this API")
    return int(last_id)
