"""Static files, served by every replica: the same behind both load balancers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from scaleout.cdn import for_all, weak_etag
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise has no types
    """WhiteNoise, with a lifetime of one year for hashed names."""

    FOREVER = 365 * 24 * 60 * 60

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponseBase:
        """Answer with a file. It is public, also for a request with cookies or a token."""
        answer: HttpResponseBase = WhiteNoiseMiddleware.serve(static_file, request)
        for_all(answer)
        return answer

    def add_cache_headers(self, headers: Any, path: str, url: str) -> None:
        """Set a weak ETag, and `public, max-age=31536000, immutable` on hashed names.

        WhiteNoise gives the file and its compressed variants one strong ETag. A cache may then join
        parts of two variants, and a load balancer that compresses changes the tag.
        """
        with suppress(OSError):  # WhiteNoise raises an error of its own for a missing file
            state = Path(path).stat()
            headers["ETag"] = weak_etag(str(int(state.st_mtime)), str(state.st_size))
        if self.immutable_file_test(path, url):
            headers["Cache-Control"] = f"public, max-age={self.FOREVER}, immutable"
        else:
            super().add_cache_headers(headers, path, url)
