import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0004_bucket_index")]

    operations = [
        migrations.CreateModel(
            name="Later",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(help_text="The task.")),
                ("message", models.TextField(help_text="Its arguments and options, as kombu's JSON.")),
                ("due_at", models.DateTimeField(db_index=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
    ]
