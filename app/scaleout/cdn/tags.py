"""The tags of an answer, in the header `CDN["TAG_HEADER"]` that the CDN reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from django.http.response import HttpResponseBase

from scaleout.cdn import policy
from scaleout.cdn.conf import conf

EVERYTHING = "*"  # a tag that every answer has, so no header names it

# Separators by header name: Fastly, Varnish (xkey) and others; Cloudflare and Akamai.
SEPARATORS = {"Surrogate-Key": " ", "Cache-Tag": ","}
MOST_BYTES = 6000  # of the header: Varnish takes lines of 8 KB, nginx a header of 16 KB

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")


def written(tag: str) -> str:
    """Return `tag` as a header may hold it: unchanged, or its digest if a cache could
    misread it.
    """
    return tag if _PLAIN.fullmatch(tag) else f"-{blake2b(tag.encode(), digest_size=8).hexdigest()}"


def put(response: HttpResponseBase, names: Iterable[str]) -> None:
    """Set the header. An answer with more tags than it holds cannot be purged, so it is
    revalidated.
    """
    header = conf().tag_header
    line = SEPARATORS[header].join(sorted({written(name) for name in names if name != EVERYTHING}))
    if len(line) > MOST_BYTES:
        response.headers["Cache-Control"] = policy.REVALIDATED
        response.headers.pop(policy.CDN_HEADER, None)
    elif line:
        response.headers[header] = line
