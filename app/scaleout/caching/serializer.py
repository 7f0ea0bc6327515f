"""JSON for values of Django's cache API in Redis, never a pickle: `OPTIONS["SERIALIZER"]` of
django-redis.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django_redis.serializers.base import BaseSerializer

from scaleout.caching import metrics

log = logging.getLogger(__name__)


class JSONSerializer(BaseSerializer):  # type: ignore[misc]  # django-redis brings no types
    """JSON; anything else counts as no value."""

    def dumps(self, value: Any) -> bytes:
        """Return `value` as JSON. Raises TypeError for what JSON can't hold."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, value: bytes) -> Any:
        """Return the value, or None if this is not JSON: damaged, forged, or of another release."""
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            metrics.refused.labels("alias").inc()
            log.warning("cached value refused: not JSON")
            return None
