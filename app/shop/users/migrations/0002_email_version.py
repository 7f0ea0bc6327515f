"""Add a version of the address, by which a slow change detects that another one was first."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add the column. The previous release neither reads nor writes it."""

    dependencies = [("users", "0001_initial")]
    operations = [
        migrations.AddField(
            model_name="user",
            name="email_version",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
