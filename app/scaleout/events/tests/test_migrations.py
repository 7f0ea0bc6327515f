"""The tables change while the code of the release before still writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from scaleout.events.models import Outbox

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])
ALIAS = "shard0"
OLD_INSERT = (
    "INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, due_at)"
    " VALUES (gen_random_uuid(), 'happened', 'one', 'elsewhere', '{}', now())"
)
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('events_outbox_bucket')"


def ask(sql: str) -> list[Any]:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def migrate(to: str | None = None) -> None:
    call_command("migrate", "events", *[to] if to else [], database=ALIAS, verbosity=0)


@pytest.fixture(autouse=True)
def _newest_afterwards(transactional_db: None) -> Iterator[None]:
    yield
    migrate()


def test_the_bucket_is_added_without_a_rewrite_and_what_was_there_has_none() -> None:
    migrate("0002")
    ask(OLD_INSERT)
    file = ask("SELECT pg_relation_filenode('events_outbox')")
    migrate("0003")
    assert ask("SELECT pg_relation_filenode('events_outbox')") == file
    ask(f"BEGIN; SET LOCAL sharding.bucket = '7'; {OLD_INSERT}; COMMIT")
    migrate()
    assert list(Outbox.objects.using(ALIAS).order_by("id").values_list("bucket", flat=True)) == [None, 7]
    assert ask(INDEX) == [(True,)]


def test_the_index_is_made_beside_publishers_and_again_where_that_was_interrupted() -> None:
    migrate("0003")
    with closing(connections[ALIAS].copy()) as publisher:
        publisher.cursor().execute(f"BEGIN; {OLD_INSERT}")
        ask("SET lock_timeout = 300")  # of waiting, not of working: a busy machine works for longer
        with pytest.raises(Exception, match="lock timeout"):  # it waits for the publisher's end
            migrate("0004")
        ask("SET lock_timeout = 0")
        assert ask(INDEX) == [(False,)]
        publisher.cursor().execute("COMMIT")
    migrate("0004")
    assert ask(INDEX) == [(True,)]
