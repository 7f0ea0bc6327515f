from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0005_later")]

    operations = [
        # Constants: PostgreSQL adds the columns without rewriting the table, and the release before
        # leaves them out.
        migrations.AddField(
            model_name="outbox",
            name="bulk",
            field=models.BooleanField(
                db_default=False, default=False, help_text="One of many: single ones overtake it."
            ),
        ),
        migrations.AddField(
            model_name="outbox",
            name="known",
            field=models.SmallIntegerField(
                db_default=0,
                default=0,
                help_text="0: it may be in the queue. 1: the queue was empty since. 2: it was heard of.",
            ),
        ),
    ]
