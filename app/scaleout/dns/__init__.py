"""Name look-ups that never hold up a request: call `install()` once, before anything connects."""

from scaleout.dns.lookups import install

__all__ = ["install"]
