"""A coherent cache of two levels, in the process and in Redis."""

from scaleout.caching.bound import CachingQuerySet, Change, bind
from scaleout.caching.decorator import CachedFunction, multi_level_cache
from scaleout.caching.depends import depends
from scaleout.caching.errors import UncacheableError
from scaleout.caching.invalidation import clear, invalidate
from scaleout.caching.level import shown, unshown
from scaleout.caching.signals import invalidated
from scaleout.caching.warming import warmer

__all__ = [
    "CachedFunction",
    "CachingQuerySet",
    "Change",
    "UncacheableError",
    "bind",
    "clear",
    "depends",
    "invalidate",
    "invalidated",
    "multi_level_cache",
    "shown",
    "unshown",
    "warmer",
]
