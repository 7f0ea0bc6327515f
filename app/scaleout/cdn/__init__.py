"""Cache rules of answers for browsers and CDNs, and purges that tell a CDN what has changed."""

from scaleout.cdn.policy import for_all, personal, public, revalidated
from scaleout.cdn.purging import purge, purge_urls
from scaleout.cdn.validators import weak_etag

__all__ = ["for_all", "personal", "public", "purge", "purge_urls", "revalidated", "weak_etag"]
