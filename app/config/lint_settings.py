"""Settings of the migration linter, which `make lint` runs: it reads the SQL of each migration and
refuses what the running release cannot live with. See "A model and its migration" in CONTRIBUTING.
"""

from __future__ import annotations

from typing import Any

from config.test_settings import *  # noqa: F403 - all but what follows
from config.test_settings import DATABASE_APPS, DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_migration_linter"]
# One database that has every table, so that no migration is empty. No table is made in it.
DATABASE_APPS = DATABASE_APPS | {"default": frozenset().union(*DATABASE_APPS.values())}
DATABASES = DATABASES | {"default": DATABASES["default"] | {"NAME": "postgres"}}

MIGRATION_LINTER_OPTIONS: dict[str, Any] = {
    "sql_analyser": "postgresql",  # the engine has another name
    "no_cache": True,
    "quiet": ["ok", "ignore"],
    "warnings_as_errors": ["CREATE_INDEX", "CREATE_INDEX_EXCLUSIVE", "DROP_INDEX", "REINDEX"],
    # Refused today, but applied in every installation before the linter came.
    "ignore_name": [
        "0003_moves",  # a unique constraint on the buckets: 1,024 rows at most
        "0002_images",  # an index on the products, without CONCURRENTLY
        "0003_sold",  # integer to bigint: the table was rewritten
    ],
}
# The linter reads too little of SQL and of Python: a test refuses RunSQL, RunPython and the
# AddConstraint of a table that exists already, but for these, which were read.
BY_HAND = {
    "0002_buckets": "triggers of the tables that it creates",
    "0003_moves": "a trigger's function and a unique constraint on the buckets: 1,024 rows at most",
    "0004_ids": "a new sequence, and a new column of the buckets filled: 1,024 rows at most",
    "0005_migrations": "a trigger's function, replaced",
    "0004_bucket_index": "an index, with CONCURRENTLY",
    "0007_claim_index": "indexes, with CONCURRENTLY",
}
