from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0002_email_version")]

    # No SQL: that Django's own manager of a sharded model is `_rows`.
    operations = [
        migrations.AlterModelManagers("user", [("objects", models.Manager()), ("_rows", models.Manager())]),
    ]
