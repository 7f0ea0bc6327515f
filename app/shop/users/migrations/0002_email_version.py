"""A version of the address, so that a change that has slept for too long finds another one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add it. The release before neither reads nor writes it."""

    dependencies = [("users", "0001_initial")]
    operations = [
        migrations.AddField(
            model_name="user",
            name="email_version",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
