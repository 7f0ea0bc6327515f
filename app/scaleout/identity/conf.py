"""The settings of this package: the dictionary `IDENTITY`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scaleout.base.conf import CacheAlias, Conf, redis_cache
from scaleout.identity.keys import Keyring


@dataclass(frozen=True)
class Settings:
    """The keys of `IDENTITY`, in small letters."""

    keyring: Keyring
    """The key of this service, and the keys of the services that it trusts."""

    cache: CacheAlias = "default"
    """A cache of django-redis. It keeps the list of logins that have ended."""

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong with the cache, the one by default too."""
        if text := redis_cache(self.cache):
            yield f"IDENTITY['CACHE'] {text}."


conf = Conf("IDENTITY", Settings)
