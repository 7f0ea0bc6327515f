import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Inbox",
            fields=[
                ("consumer", models.TextField()),
                ("event_id", models.UUIDField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True),
                ),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("consumer", "event_id"), name="events_inbox_once")],
            },
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        help_text="The order of the events of an aggregate.", primary_key=True, serialize=False
                    ),
                ),
                ("event_id", models.UUIDField()),
                ("name", models.TextField()),
                ("aggregate", models.TextField()),
                ("consumer", models.TextField(help_text="The task that receives it.")),
                ("data", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "due_at",
                    models.DateTimeField(help_text="When it is sent again, unless the consumer has it by then."),
                ),
                (
                    "sends",
                    models.IntegerField(
                        db_default=0, default=0, help_text="How many times it was given to the broker."
                    ),
                ),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, default=0, help_text="How many times the consumer failed with it."
                    ),
                ),
                (
                    "error",
                    models.TextField(db_default="", default="", help_text="What the consumer said the last time."),
                ),
                (
                    "parked_at",
                    models.DateTimeField(help_text="When it was given up, until a person has looked at it.", null=True),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["consumer", "aggregate", "id"], name="events_outbox_order"),
                    models.Index(condition=models.Q(("parked_at", None)), fields=["due_at"], name="events_outbox_due"),
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "consumer"), name="events_outbox_once")],
            },
        ),
    ]
