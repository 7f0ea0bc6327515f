"""Static files from every replica, so that both load balancers serve the same."""

from __future__ import annotations

from typing import Any

from whitenoise.middleware import WhiteNoiseMiddleware


class StaticMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise has no types
    """WhiteNoise, with one year for hashed names: as the contract has it."""

    FOREVER = 365 * 24 * 60 * 60

    def add_cache_headers(self, headers: Any, path: str, url: str) -> None:
        """Set `public, max-age=31536000, immutable` on hashed names."""
        if self.immutable_file_test(path, url):
            headers["Cache-Control"] = f"public, max-age={self.FOREVER}, immutable"
        else:
            super().add_cache_headers(headers, path, url)
