"""Settings of a process whose cache is the cluster of the test, at CLUSTER_URLS."""

from __future__ import annotations

import os

from config.test_settings import *  # noqa: F403 - but for the cache
from config.test_settings import CACHES

for _alias in ("default", "limits"):
    CACHES[_alias] |= {"LOCATION": os.environ["CLUSTER_URLS"].split(",")}
    CACHES[_alias]["OPTIONS"] |= {"CLIENT_CLASS": "scaleout.caching.cluster.ClusterClient", "PASSWORD": "test"}
