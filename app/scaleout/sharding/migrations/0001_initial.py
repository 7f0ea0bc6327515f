"""The identity of a shard."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create the table."""

    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="ShardIdentity",
            fields=[("name", models.CharField(max_length=63, primary_key=True, serialize=False))],
        ),
    ]
