"""The tags of an answer, in the header that the CDN reads: `settings.CDN_TAG_HEADER`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from django.conf import settings
from django.http.response import HttpResponseBase

from scaleout.cdn import policy

EVERYTHING = "*"  # as a tag: what bears it is all there is, so it stands in no header

# By the header's name. Fastly, Varnish (xkey) and others; Cloudflare and Akamai.
SEPARATORS = {"Surrogate-Key": " ", "Cache-Tag": ","}
MOST_BYTES = 6000  # of the header: Varnish takes lines of 8 KB, nginx a header of 16 KB

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")


def written(tag: str) -> str:
    """Return `tag` as it stands in a header: as it is, or where it could be misread, its digest."""
    return tag if _PLAIN.fullmatch(tag) else f"-{blake2b(tag.encode(), digest_size=8).hexdigest()}"


def put(response: HttpResponseBase, names: Iterable[str]) -> None:
    """Set the header. An answer with more tags than fit in it could not be purged: it is asked for
    each time.
    """
    header = settings.CDN_TAG_HEADER
    line = SEPARATORS[header].join(sorted({written(name) for name in names if name != EVERYTHING}))
    if len(line) > MOST_BYTES:
        response.headers["Cache-Control"] = policy.REVALIDATED
        response.headers.pop(policy.CDN_HEADER, None)
    elif line:
        response.headers[header] = line
