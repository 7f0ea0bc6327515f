"""What a browser and a CDN may keep of an answer, and how a CDN is told that it is wrong."""

from scaleout.cdn.policy import for_all, personal, public, revalidated
from scaleout.cdn.purging import purge, purge_urls
from scaleout.cdn.validators import weak_etag

__all__ = ["for_all", "personal", "public", "purge", "purge_urls", "revalidated", "weak_etag"]
