"""The service that a request is for, read from the undecoded request target.

By the time Django sees a path it is decoded: `%2f` is a slash and `%2e%2e` are two dots. A service
would decode it once more, and read another path than the one that was checked. So the gateway
checks the undecoded target and passes it on, byte for byte; it refuses each target that two readers
could read in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from django.http import HttpRequest

from scaleout.gateway.client.errors import Refused

_SERVICE = re.compile(r"/api/([a-z][a-z0-9-]*)(?:/|\Z)")
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]|#")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# An encoded slash, backslash or control character, encoded once or several times.
_HIDDEN = re.compile(r"%(?:25)*(?:2f|5c|7f|[01][0-9a-f])", re.IGNORECASE)
_DOT = re.compile(r"%(?:25)*2e", re.IGNORECASE)
# Some servers cut a segment at the semicolon before they look for dots.
_PARAMETERS = re.compile(r"(?:;|%(?:25)*3b).*", re.IGNORECASE)


def of(request: HttpRequest) -> str:
    """Return the undecoded request target: gunicorn's, or with another server Django's rendering of
    the path.
    """
    environ: dict[str, Any] = request.META
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    return str(raw) if raw else request.get_full_path()


def service(target: str, services: Collection[str]) -> str:
    """Return the service that `target` names. Raises Refused: 400 if it is malformed, 404 for an
    unknown service.
    """
    path = target.partition("?")[0]
    if _NOT_PRINTABLE.search(target) or not path.startswith("/"):
        raise _malformed("Only an absolute path of printable ASCII characters is a request target here.")
    if _BAD_PERCENT.search(path):
        raise _malformed("A percent sign in the path is not followed by two hexadecimal digits.")
    if "\\" in path or "//" in path or _HIDDEN.search(path):
        raise _malformed("The path has an empty segment, a backslash, or an encoded slash or control character.")
    for segment in path.split("/"):
        if _PARAMETERS.sub("", _DOT.sub(".", segment)) in (".", ".."):
            raise _malformed("The path has a segment of dots.")
    match = _SERVICE.match(path)
    if match is None or match[1] not in services:
        name = path.removeprefix("/api/").partition("/")[0]
        raise Refused(404, "unknown", f"No service has the name {name[:40]!r}.")
    return match[1]


def _malformed(detail: str) -> Refused:
    return Refused(400, "target", detail)
