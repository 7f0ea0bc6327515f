"""Values as bytes: text and JSON if the types allow it, else a pickle; and the seal of values in
Redis.

A client of Redis can write any bytes. So nothing is decoded before its seal is checked: an HMAC
over the name and the bytes, by a key that only the processes have that share the values. A value
that was stored under another name is refused like a forged one. `CACHING_PICKLES = False` forbids
pickles in Redis.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
from typing import Any

from django.conf import settings
from django.utils.safestring import SafeString

from scaleout.caching.conf import conf
from scaleout.caching.errors import UncacheableError

SIZE = 32  # bytes of a seal
_TEXT, _SAFE, _JSON, _PICKLE = b"t", b"s", b"j", b"p"
_ATOMS = (str, bool, float, type(None))
_INTEGERS = 1 << 63  # larger ones may have more digits than JSON is read with
_DEEP = 50  # levels of lists and dictionaries


def dump(value: object, what: str) -> bytes:
    """Return `value` as bytes. Raises UncacheableError, naming `what`, if a pickle cannot restore
    it.
    """
    kind = type(value)
    if kind is str or kind is SafeString:
        return (_TEXT if kind is str else _SAFE) + str(value).encode("utf-8", "surrogatepass")
    if _plain(value):
        return _JSON + json.dumps(value, separators=(",", ":")).encode()
    try:
        payload = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        pickle.loads(payload)  # noqa: S301 - our own bytes
    except Exception as error:  # a __reduce__ may raise anything
        raise UncacheableError(
            f"{what} can't be cached, because it can't be pickled and read again: {error}"
        ) from error
    return _PICKLE + payload


def load(payload: bytes) -> Any:
    """Return the value of bytes that this process has made, or whose seal it has verified."""
    kind, rest = payload[:1], payload[1:]
    if kind in (_TEXT, _SAFE):
        text = rest.decode("utf-8", "surrogatepass")
        return text if kind == _TEXT else SafeString(text)
    return json.loads(rest) if kind == _JSON else pickle.loads(rest)  # noqa: S301 - ours, as above


def for_redis(payload: bytes, what: str) -> bytes:
    """Return `payload` if Redis may hold it. Raises UncacheableError for a pickle if the project
    forbids them.
    """
    if payload[:1] == _PICKLE and not conf().pickles:
        raise UncacheableError(
            f"{what} can't be cached: it is no text and no JSON (texts, numbers, None, lists, dictionaries),"
            " and CACHING['PICKLES'] is False"
        )
    return payload


def seal(name: str, blob: bytes) -> bytes:
    """Return `blob` with its seal at the end."""
    return blob + _mac(name, blob)


def opened(name: str, sealed: bytes) -> bytes | None:
    """Return what was sealed under `name`; None if the seal is another one."""
    blob, mac = sealed[:-SIZE], sealed[-SIZE:]
    if not hmac.compare_digest(mac, _mac(name, blob)):
        return None
    kind = blob.partition(b"\n")[2][:1]
    return blob if kind != _PICKLE or conf().pickles else None


def _mac(name: str, blob: bytes) -> bytes:
    key = conf().key or str(settings.SECRET_KEY)
    named = name.encode()
    # A key of this purpose alone: the secret may be that of other signatures too.
    own = hashlib.sha256(b"scaleout.caching.codec:" + key.encode()).digest()
    return hmac.digest(own, b"%d:%b:" % (len(named), named) + blob, "sha256")


def _plain(value: object, deep: int = _DEEP) -> bool:
    """Return whether JSON restores the same types, checked for small values only."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is int:
        return -_INTEGERS <= value < _INTEGERS  # type: ignore[operator]  # an int
    if deep and kind is list:
        return all(_plain(one, deep - 1) for one in value)  # type: ignore[attr-defined]  # a list
    if deep and kind is dict:
        return all(type(name) is str and _plain(one, deep - 1) for name, one in value.items())  # type: ignore[attr-defined]
    return False
