from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0001_initial")]

    operations = [
        # With a default of the database: the processes of the release before this one write rows
        # too.
        migrations.AddField(
            model_name="outbox",
            name="headers",
            field=models.JSONField(
                db_default={}, default=dict, help_text="Of its message: which request it follows from."
            ),
        ),
    ]
