"""The settings of this package: the dictionary `CDN`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated

from scaleout.base.conf import Conf, Name, one_of, origin


@dataclass(frozen=True)
class Settings:
    """The keys of `CDN`, in small letters."""

    tag_header: Annotated[str, one_of("Surrogate-Key", "Cache-Tag")] = "Surrogate-Key"
    """The header with the tags of an answer. Cloudflare and Akamai read `Cache-Tag`."""

    personal_headers: Collection[Name] = ()
    """An answer with one of these headers is its caller's own, so no CDN keeps it."""

    purge_url: Annotated[str, origin] = ""
    """The edge that is asked to purge: scheme, host and port. Empty: none."""

    purge_secret: str = ""
    """The token of these requests."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong between two keys."""
        if self.purge_url and not self.purge_secret:
            yield "CDN['PURGE_URL'] needs CDN['PURGE_SECRET']."


conf = Conf("CDN", Settings)
