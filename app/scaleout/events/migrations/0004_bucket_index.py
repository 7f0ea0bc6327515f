from django.db import migrations, models

NAME = "events_outbox_bucket"


class Migration(migrations.Migration):
    dependencies = [("events", "0003_bucket")]
    atomic = False  # CONCURRENTLY: publishers continue while the index is created

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                # Django's AddIndexConcurrently fails for ever once it was interrupted: the index is
                # there, and invalid.
                migrations.RunSQL(
                    [
                        f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}",
                        f"CREATE INDEX CONCURRENTLY {NAME} ON events_outbox (bucket, id)",
                    ],
                    f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}",
                    hints={"model_name": "outbox"},
                )
            ],
            [migrations.AddIndex("outbox", models.Index(fields=["bucket", "id"], name=NAME))],
        )
    ]
