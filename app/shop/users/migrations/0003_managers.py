from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0002_email_version")]

    # No SQL: sets `_rows` as the base manager of a sharded model.
    operations = [
        migrations.AlterModelManagers("user", [("objects", models.Manager()), ("_rows", models.Manager())]),
    ]
