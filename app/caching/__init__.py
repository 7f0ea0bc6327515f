"""A cache of two levels, in the process and in Redis, that agree."""

from caching.bound import CachingQuerySet, Change, bind
from caching.decorator import CachedFunction, multi_level_cache
from caching.depends import depends
from caching.errors import UncacheableError
from caching.invalidation import clear, invalidate
from caching.level import shown
from caching.signals import invalidated
from caching.warming import warmer

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
    "warmer",
]
