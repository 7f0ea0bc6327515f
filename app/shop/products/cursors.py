"""Page cursors: opaque, URL-safe and signed.

A cursor is not secret and grants no right. The signature is there for the cache: each cursor is a
cached page, so a caller that could make them could fill the cache with pages that no reader wants.

The key is that of the cached values: all processes that keep these pages share it, and no other
does. `SECRET_KEY` differs in each process of a service.
"""

import base64
import binascii
import struct

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

VERSION = 2
_FORMAT = struct.Struct(">BQ")
_SIGNATURE = 12  # bytes
_LENGTH = 28  # 21 bytes as base64, which then needs no padding
_ID_MAX = 2**63 - 1


class BadCursorError(ValueError):
    """The text is not a cursor that ``encode`` made."""


def encode(last_id: int) -> str:
    """Return the cursor for the page that begins after this id."""
    body = _FORMAT.pack(VERSION, last_id)
    return base64.urlsafe_b64encode(body + _signature(body)).decode()


def decode(text: str) -> int:
    """Return the id in a cursor. Raises BadCursorError."""
    if len(text) != _LENGTH or not text.isascii():
        raise BadCursorError("not a cursor of this API")
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise BadCursorError("not a cursor of this API") from error
    if len(raw) != _FORMAT.size + _SIGNATURE:
        raise BadCursorError("not a cursor of this API")
    body, signature = raw[: _FORMAT.size], raw[_FORMAT.size :]
    if not constant_time_compare(signature, _signature(body)):
        raise BadCursorError("not a cursor of this API")
    version, last_id = _FORMAT.unpack(body)
    if version != VERSION or last_id > _ID_MAX:
        raise BadCursorError("not a cursor of this API")
    return int(last_id)


def _signature(body: bytes) -> bytes:
    key = settings.CACHING["KEY"]
    return salted_hmac("shop.products.cursors", body, key, algorithm="sha256").digest()[:_SIGNATURE]
