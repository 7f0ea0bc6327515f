"""What a browser and a CDN may keep of an answer, and how a CDN is told that it is wrong."""

from cdn.policy import personal, public, revalidated
from cdn.purging import purge
from cdn.validators import weak_etag

__all__ = ["personal", "public", "purge", "revalidated", "weak_etag"]
