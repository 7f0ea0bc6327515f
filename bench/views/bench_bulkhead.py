"""The stack's own settings, without the bulkhead: any number of calls may wait for a service."""

from config import settings
from config.settings import *  # noqa: F403 - all of them

GATEWAY = settings.GATEWAY | {"CONCURRENCY": 1000}
