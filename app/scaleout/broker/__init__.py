"""Celery's transports for Redis and Sentinels, which outlive a lost broker: call `install()`
once.
"""

from scaleout.broker.transport import install

__all__ = ["install"]
