from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_events")]

    # No SQL: that Django's own manager of a sharded model is `_rows`.
    operations = [
        migrations.AlterModelManagers("inbox", [("objects", models.Manager()), ("_rows", models.Manager())]),
        migrations.AlterModelManagers("order", [("objects", models.Manager()), ("_rows", models.Manager())]),
        migrations.AlterModelManagers("orderitem", [("objects", models.Manager()), ("_rows", models.Manager())]),
    ]
