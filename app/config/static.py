"""Static files from every replica, so that both load balancers serve the same."""

from __future__ import annotations

from typing import Any

from whitenoise.middleware import WhiteNoiseMiddleware


class StaticMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise, with one year for hashed names: the longest time that RFC 9111 caches are asked to honour."""

    FOREVER = 365 * 24 * 60 * 60

    def add_cache_headers(self, headers: Any, path: str, url: str) -> None:
        """Set `public, max-age=31536000, immutable` on hashed names."""
        if self.immutable_file_test(path, url):
            headers["Cache-Control"] = f"public, max-age={self.FOREVER}, immutable"
        else:
            super().add_cache_headers(headers, path, url)
