"""Models that sharding cannot serve are refused at the start."""

from __future__ import annotations

from typing import Any

from checking import complaints
from django.core.checks import run_checks
from django.db import models
from django.db.models import F
from django.db.models.functions import Lower
from django.test.utils import isolate_apps
from pytest_django import Settings

from scaleout.sharding.base import ShardedModel
from scaleout.sharding.checks import check_model
from scaleout.sharding.registry import models_on, outbox_table


def found(model: Any) -> list[str | None]:
    return [message.id for message in check_model(model)]


def test_the_models_of_the_project_are_in_order() -> None:
    assert [message for message in run_checks() if str(message.id).startswith("sharding.")] == []


def test_a_shard_has_the_tables_in_the_order_in_which_they_can_be_copied() -> None:
    names = [model.__name__ for model in models_on("shard0")]
    assert names.index("Order") < names.index("OrderItem")
    assert models_on("default") == []


@isolate_apps("scaleout.sharding")
def test_relations_that_leave_the_bucket_are_refused() -> None:
    class Country(models.Model):
        class Meta:
            app_label = "sharding"

    class Person(ShardedModel):
        country = models.ForeignKey(Country, models.CASCADE)

        class Meta:
            app_label = "sharding"

    class Visit(models.Model):
        person = models.ForeignKey(Person, models.CASCADE)

        class Meta:
            app_label = "sharding"

    class Letter(ShardedModel):
        shard_key = "sender_id"
        sender_id = models.BigIntegerField()
        receiver = models.ForeignKey(Person, models.CASCADE)

        class Meta:
            app_label = "sharding"

    class Stamp(ShardedModel):
        shard_key = "sender_id"
        sender_id = models.BigIntegerField()
        letter = models.ForeignKey(Letter, models.CASCADE)

        class Meta:
            app_label = "sharding"

    class Club(ShardedModel):
        members = models.ManyToManyField(Person)

        class Meta:
            app_label = "sharding"

    assert found(Person) == ["sharding.E001"]
    assert found(Visit) == ["sharding.E002"]
    assert found(Letter) == ["sharding.E003"]
    assert found(Stamp) == []
    assert found(Club) == ["sharding.E004"]


@isolate_apps("scaleout.sharding")
def test_a_shard_key_that_is_no_column_is_refused() -> None:
    class Person(ShardedModel):
        shard_key = "town"

        class Meta:
            app_label = "sharding"

    assert found(Person) == ["sharding.E005"]


@isolate_apps("scaleout.sharding")
def test_what_is_unique_over_several_buckets_is_refused() -> None:
    class Person(ShardedModel):
        email = models.EmailField(unique=True)
        name = models.TextField()
        street = models.TextField()

        class Meta:
            app_label = "sharding"
            unique_together = (("name", "street"), ("id", "name"))
            constraints = (
                models.UniqueConstraint(Lower("street"), name="by_street"),
                models.UniqueConstraint(Lower("street"), F("id").desc(), name="by_street_and_id"),
            )

    class Passport(ShardedModel):
        shard_key = "person_id"
        person = models.OneToOneField(Person, models.CASCADE)
        number = models.TextField()
        former = models.OneToOneField("self", models.CASCADE, null=True, related_name="later")

        class Meta:
            app_label = "sharding"
            constraints = (
                models.UniqueConstraint(name="by_person", fields=["person", "number"]),
                models.UniqueConstraint(name="one_null", fields=["former"], nulls_distinct=False),
            )

    assert [message.id for message in check_model(Person)] == ["sharding.E008"] * 3
    assert [message.msg.partition(" of ")[0] for message in check_model(Person)] == [
        "email",
        "name, street",
        "by_street",
    ]
    assert [message.msg for message in check_model(Passport)] == [
        "one_null of Passport is unique over several buckets."
    ]


@isolate_apps("scaleout.sharding")
def test_a_manager_that_does_not_find_the_shard_is_refused() -> None:
    class Person(ShardedModel):
        objects = models.Manager()  # type: ignore[assignment]

        class Meta:
            app_label = "sharding"

    class Other(models.Model):
        class Meta:
            abstract = True
            app_label = "sharding"

    class Town(Other, ShardedModel):
        class Meta:
            app_label = "sharding"

    assert found(Person) == found(Town) == ["sharding.E006"]


def test_an_outbox_that_a_move_could_not_read_is_refused(settings: Settings) -> None:
    settings.SHARDING = settings.SHARDING | {"OUTBOX": None}
    assert (complaints(), outbox_table()) == ([], None)
    for wrong, lacks in (("sharding.Bucket", "id"), ("no.Such", "bucket, id"), ("misspelt", "bucket, id")):
        settings.SHARDING = settings.SHARDING | {"OUTBOX": wrong}
        assert complaints() == [
            f"scaleout.sharding.E005 SHARDING['OUTBOX'] is '{wrong}',"
            f" which is no model with the columns {lacks}, parked_at."
        ]
