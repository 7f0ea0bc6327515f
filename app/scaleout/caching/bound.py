"""Invalidations for every change of a model's rows by Django's ORM.

Django sends no signal for `QuerySet.update()` and `bulk_create()`, so the queryset here reports
them. Signals report `save()` and `delete()`, also those of a queryset and of a cascade, and changes
of many-to-many relations. Only models that need a receiver have one: a receiver for any sender
would disable Django's fast deletes for every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models.signals import class_prepared, m2m_changed, post_delete, post_save, pre_delete, pre_save

from scaleout.caching.invalidation import checked, forewarn, invalidate_on


@dataclass(frozen=True, slots=True)
class Change:
    """A change of rows of `model`.

    `ids`: of the rows, for new ones only if known. `written`: the written values by the field's
    attribute (`category_id`); an expression is among them unchanged. For a many-to-many relation:
    the ids at its other end, by the name of the relation or of its reverse. Empty for deleted rows.
    `created`: the rows may be new.
    """

    model: type[models.Model]
    ids: Sequence[Any]
    written: Mapping[str, Sequence[Any]]
    created: bool = False


type TagsOf = Callable[[Change], Iterable[str]]

_bound: dict[type[models.Model], TagsOf] = {}


def bind(model: type[models.Model], tags: TagsOf) -> None:
    """Let each change of `model` invalidate the tags that `tags` returns for it.

    That includes changes of its proxies and children. Call it when all models are loaded
    (`AppConfig.ready`): a many-to-many relation with a later `through` of its own is missed.

    For changes of whole querysets the model's manager must be of a CachingQuerySet, and so must its
    base manager, by which `parent.children.add(…)` changes rows: `objects =
    CachingQuerySet.as_manager()` and, in its Meta, `base_manager_name = "objects"`. Raises
    ImproperlyConfigured if one is not.
    """
    for manager in (model._default_manager, model._base_manager):
        if not isinstance(manager.get_queryset(), CachingQuerySet):
            raise ImproperlyConfigured(f"{model._meta.label}: {manager} is not of a CachingQuerySet: see caching.bind")
    _bound[model] = tags
    for one in [one for label in apps.all_models.values() for one in label.values()]:
        _listen(one)
    class_prepared.connect(_listen_later, dispatch_uid="caching.later")


def _listen(model: type[models.Model]) -> None:
    """Connect the signals of `model` if its rows are a bound model's.

    A proxy is a sender of its own; the parent of a saved model is none.
    """
    if _is_bound(model):
        for signal in (pre_save, pre_delete):
            signal.connect(_before, sender=model, dispatch_uid="caching.before")
        post_save.connect(_after_save, sender=model, dispatch_uid="caching.after")
        post_delete.connect(_after_delete, sender=model, dispatch_uid="caching.after")
    for field in model._meta.local_many_to_many:
        _listen_between(field.remote_field.through, model, field.related_model)
    if isinstance(maker := model._meta.auto_created, type):
        _listen_between(model, maker, *(field.related_model for field in model._meta.fields))


def _listen_later(sender: type[models.Model], **_: Any) -> None:
    _listen(sender)


def _listen_between(through: Any, *ends: Any) -> None:
    if isinstance(through, type) and any(isinstance(end, type) and _is_bound(end) for end in ends):
        m2m_changed.connect(_after_relation, sender=through, dispatch_uid="caching.relation")


def tags_of(change: Change) -> set[str]:
    """Return the tags that `change` invalidates, by its model and those that share its rows."""
    found: set[str] = set()
    for model in _tables(change.model):
        if tags := _bound.get(model):
            found |= checked(tags(replace(change, model=model)))
    return found


def _tables(model: type[models.Model]) -> list[type[models.Model]]:
    """Return the models whose tables hold a row of `model`: of a proxy, and of a child's parents
    too.
    """
    concrete = model._meta.concrete_model
    return [] if concrete is None else [concrete, *concrete._meta.get_parent_list()]


def _is_bound(model: type[models.Model]) -> bool:
    return any(one in _bound for one in _tables(model))


def _change_of(instance: models.Model, fields: Iterable[str] | None, *, created: bool) -> Change:
    """Return the change of saving `instance`.

    Without `update_fields` every field counts as written, also an unchanged one: another
    transaction may have changed it since.
    """
    names = None if fields is None else set(fields)
    written = {
        field.attname: [getattr(instance, field.attname)]
        for field in instance._meta.concrete_fields
        if (names is None or field.name in names or field.attname in names)
        and field.attname in instance.__dict__  # a deferred field is not written
    }
    return Change(type(instance), [] if instance.pk is None else [instance.pk], written, created)


def _before(sender: type[models.Model], instance: models.Model, using: str, **given: Any) -> None:
    # Inside a transaction invalidate() waits for the commit.
    if _is_bound(sender) and not transaction.get_connection(using).in_atomic_block:
        forewarn(*tags_of(_change_of(instance, given.get("update_fields"), created=instance._state.adding)))


def _after_save(instance: models.Model, using: str, created: bool, update_fields: Any = None, **_: Any) -> None:
    if _is_bound(type(instance)):
        invalidate_on(using, *tags_of(_change_of(instance, update_fields, created=created)))


def _after_delete(instance: models.Model, using: str, **_: Any) -> None:
    invalidate_on(using, *tags_of(Change(type(instance), [instance.pk], {})))


def _after_relation(  # noqa: PLR0913, PLR0917 - the arguments of the signal
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    reverse: bool,
    model: type[models.Model],
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """Report an added or removed relation as a change at both ends. Django has a
    transaction open.
    """
    if action not in ("post_add", "post_remove", "pre_clear"):
        return
    owner = model if reverse else type(instance)
    field = next(one for one in owner._meta.many_to_many if one.remote_field.through is sender)
    names = [field.name, field.remote_field.get_accessor_name() or field.name]
    here, there = reversed(names) if reverse else names
    # The rows of a clear are known only before it.
    related = getattr(instance, here).using(using).values_list("pk", flat=True) if pk_set is None else pk_set
    if others := list(related):
        near, far = Change(type(instance), [instance.pk], {here: others}), Change(model, others, {there: [instance.pk]})
        invalidate_on(using, *tags_of(near), *tags_of(far))


class CachingQuerySet[M: models.Model](models.QuerySet[M]):
    """A queryset that reports the changes of `update()`, `bulk_update()` and `bulk_create()`."""

    def update(self, **values: Any) -> int:
        """Update the rows. They are locked first, in the order of their ids, so that the ids are
        known.
        """
        with transaction.atomic(using=self._for_write_alias()):
            writer = self.using(self._for_write_alias())
            rows = writer
            if writer.query.distinct or writer.query.group_by is not None:  # PostgreSQL locks no rows of such a query
                found = writer.order_by().values("pk")
                rows = CachingQuerySet(self.model, using=writer.db).filter(pk__in=found)
            locked = rows.order_by("pk").select_for_update(of=("self",), no_key=True)
            ids = list(locked.values_list("pk", flat=True))
            if not ids:
                return 0
            fields = {name: self.model._meta.get_field(name) for name in values}
            written = {getattr(fields[name], "attname", name): [_plain(value)] for name, value in values.items()}
            number = models.QuerySet.update(writer.filter(pk__in=ids), **values)
            invalidate_on(writer.db, *tags_of(Change(self.model, ids, written)))
        return number

    update.alters_data = True  # type: ignore[attr-defined]  # Django's way to keep templates from calling it

    def bulk_create(self, objs: Iterable[M], *args: Any, **options: Any) -> list[M]:
        """Create the rows."""
        rows = list(objs)
        with transaction.atomic(using=self._for_write_alias()):
            made = super().bulk_create(rows, *args, **options)
            written: dict[str, list[Any]] = {}
            for row in rows:
                for field in self.model._meta.concrete_fields:
                    written.setdefault(field.attname, []).append(row.__dict__.get(field.attname))
            change = Change(self.model, [row.pk for row in made if row.pk is not None], written, created=True)
            invalidate_on(self._for_write_alias(), *tags_of(change))
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]  # as above

    def _for_write_alias(self) -> str:
        self._for_write = True
        return self.db


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, models.Model) else value
