"""The address of the static files for browsers."""

from __future__ import annotations

from config import environment


def static_origin() -> str:
    """Return the address before `/static/`: a CDN that fetches from this site, or nothing."""
    url, cloudfront = environment.origin("CDN_URL"), environment.domain("AWS_CLOUDFRONT_DOMAIN")
    if url and cloudfront:
        environment.refuse("AWS_CLOUDFRONT_DOMAIN", "is CloudFront's name for what CDN_URL names: set one of them")
    return url or (f"https://{cloudfront}" if cloudfront else "")
