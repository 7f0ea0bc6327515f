"""One of the processes that take ids at once: process.py NUMBER IDS. SHARD_NAMES: the databases of
the shards.
"""

from __future__ import annotations

import os
import sys

import django
from django.conf import settings

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.test_settings")
    django.setup()
    for alias, name in zip(settings.SHARDING["SHARDS"].values(), os.environ["SHARD_NAMES"].split(","), strict=True):
        settings.DATABASES[alias]["NAME"] = name

    from scaleout.sharding.tests.test_ids import take_many

    take_many(int(sys.argv[1]), int(sys.argv[2]))
