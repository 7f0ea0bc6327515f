import django.db.models.functions.datetime
from django.db import migrations, models
from scaleout.sharding.fence import FenceTable


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProductName",
            fields=[
                ("product_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                ("consumer", models.TextField()),
                ("event_id", models.UUIDField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True),
                ),
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "consumer", "event_id"), name="orders_inbox_once")
                ],
            },
        ),
        FenceTable("orders_inbox", key="user_id"),
    ]
