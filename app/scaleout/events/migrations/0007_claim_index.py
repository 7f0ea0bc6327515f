from django.db import migrations, models

CLAIM, PARKED = "events_outbox_claim", "events_outbox_parked"


def concurrently(name: str, on: str) -> migrations.RunSQL:
    """As in 0004: beside publishers, and again where that was interrupted."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    create = f"CREATE INDEX CONCURRENTLY {name} ON events_outbox {on}"
    return migrations.RunSQL([drop, create], drop, hints={"model_name": "outbox"})


class Migration(migrations.Migration):
    dependencies = [("events", "0006_bulk")]
    atomic = False

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                concurrently(CLAIM, "(consumer, bulk, due_at) WHERE parked_at IS NULL"),
                concurrently(PARKED, "(id) WHERE parked_at IS NOT NULL"),
            ],
            [
                migrations.AddIndex(
                    "outbox",
                    models.Index(
                        fields=["consumer", "bulk", "due_at"], condition=models.Q(("parked_at", None)), name=CLAIM
                    ),
                ),
                migrations.AddIndex(
                    "outbox",
                    models.Index(fields=["id"], condition=models.Q(("parked_at__isnull", False)), name=PARKED),
                ),
            ],
        )
    ]
