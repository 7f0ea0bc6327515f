"""What is heard of a bound model: its proxies, children and many-to-many relations, and of no other
model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, models, router, transaction
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.test.utils import isolate_apps

from scaleout.caching import bind, bound, invalidate, invalidated, multi_level_cache
from scaleout.caching.bound import CachingQuerySet, Change

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0"])


class Rows:
    """Models with tables of their own, bound while the test runs."""

    def __init__(self) -> None:
        class Label(models.Model):
            objects: Any = CachingQuerySet.as_manager()

            class Meta:
                app_label = "caching"
                base_manager_name = "objects"

        class Item(models.Model):
            labels: Any = models.ManyToManyField(Label, related_name="items")
            friends: Any = models.ManyToManyField("self")
            objects: Any = CachingQuerySet.as_manager()

            class Meta:
                app_label = "caching"
                base_manager_name = "objects"

        class Child(Item):
            class Meta:
                app_label = "caching"

        class Proxy(Child):
            class Meta:
                app_label = "caching"
                proxy = True

        class Other(models.Model):
            class Meta:
                app_label = "caching"

        self.label, self.item, self.child, self.proxy, self.other = Label, Item, Child, Proxy, Other
        self.changes: list[Change] = []
        self.invalidated: list[set[str]] = []

    def tags(self, change: Change) -> list[str]:
        self.changes.append(change)
        return [f"{change.model.__name__}:{key}" for key in change.ids]

    def hear(self, tags: set[str], **_: Any) -> None:
        # And not what an earlier test has left unsent.
        if own := {tag for tag in tags if tag.partition(":")[0] in {"Item", "Label", "Child", "Proxy", "Other"}}:
            self.invalidated.append(own)

    def forget(self) -> None:
        self.changes.clear()
        self.invalidated.clear()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    """Rows, with the router's leave, since no application has these models."""
    monkeypatch.setattr(router, "routers", [])
    monkeypatch.setattr(bound, "_bound", dict(bound._bound))
    with isolate_apps("scaleout.caching"):
        made = Rows()
        tables: list[Any] = [made.label, made.item, made.child, made.other]
        with connection.schema_editor() as editor:
            for table in tables:
                editor.create_model(table)
        for model in (made.label, made.item):
            bind(model, made.tags)
            # Isolated models are in no registry that bind() could look at.
            everything: list[Any] = [made.label, made.item, made.child, made.proxy, made.other]
            everything += [relation.remote_field.through for relation in made.item._meta.local_many_to_many]
            for one in everything:
                bound._listen(one)
        invalidated.connect(made.hear, dispatch_uid="test")
        yield made
        invalidated.disconnect(dispatch_uid="test")
        with connection.schema_editor() as editor:
            for table in reversed(tables):
                editor.delete_model(table)


def test_a_many_to_many_relation_is_a_change_at_both_ends(rows: Rows) -> None:
    item, other = rows.item.objects.create(), rows.item.objects.create()
    red, blue = rows.label.objects.create(), rows.label.objects.create()
    both = {f"Item:{item.pk}", f"Label:{red.pk}"}

    def after(action: Any) -> set[str]:
        rows.forget()
        action()
        return set().union(*rows.invalidated)

    assert after(lambda: item.labels.add(red)) == both
    assert [(one.model, one.written) for one in rows.changes] == [
        (rows.item, {"labels": [red.pk]}),
        (rows.label, {"items": [item.pk]}),
    ]
    assert after(lambda: item.labels.add(red)) == set(), "it was there"
    assert after(lambda: item.labels.set([blue])) == both | {f"Label:{blue.pk}"}
    assert after(item.labels.clear) == {f"Item:{item.pk}", f"Label:{blue.pk}"}
    assert after(lambda: red.items.add(item, other)) == both | {f"Item:{other.pk}"}
    assert after(lambda: red.items.remove(item)) == both
    assert after(red.items.clear) == {f"Item:{other.pk}", f"Label:{red.pk}"}
    assert after(lambda: item.friends.add(other)) == {f"Item:{item.pk}", f"Item:{other.pk}"}


def test_a_relation_that_is_rolled_back_invalidates_nothing(rows: Rows) -> None:
    item, red = rows.item.objects.create(), rows.label.objects.create()
    rows.forget()
    with transaction.atomic():
        item.labels.add(red)
        assert rows.invalidated == []
        transaction.set_rollback(True)
    assert rows.invalidated == []


def test_a_child_and_its_proxy_are_heard(rows: Rows) -> None:
    for model in (rows.child, rows.proxy):
        rows.forget()
        made = model.objects.create()
        assert f"Item:{made.pk}" in set().union(*rows.invalidated), model
        rows.forget()
        key = made.pk
        made.delete()
        assert f"Item:{key}" in set().union(*rows.invalidated), model


def test_an_unbound_model_keeps_its_fast_deletes(rows: Rows) -> None:
    for model in (rows.other, Session):
        assert Collector("default").can_fast_delete(model._default_manager.all()), model
        for signal in (pre_save, post_save, pre_delete, post_delete):
            assert not signal.has_listeners(model), model
    assert pre_delete.has_listeners(rows.proxy)


def test_invalidate_waits_for_each_transaction_that_is_open_on_any_database() -> None:
    seen: list[int] = []

    @multi_level_cache(timeout=60, key="test-bound-value", tags=("waits",))
    def value() -> int:
        seen.append(1)
        return len(seen)

    assert value() == value() == 1
    with transaction.atomic(), transaction.atomic(using="shard0"):
        with transaction.atomic(using="shard0"):
            invalidate("waits")
        assert value.peek() is not None
        assert value.peek().value == 1  # type: ignore[union-attr]  # as everyone else sees it
    assert value() == 2
    with transaction.atomic(using="shard0"):
        invalidate("waits")
        assert value.peek() is not None, "the commit on the other database is still to come"
    assert value() == 3
