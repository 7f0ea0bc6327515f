import django.db.models.functions.datetime
from django.db import migrations, models
from scaleout.sharding.fence import FenceTable


class Migration(migrations.Migration):
    initial = True

    dependencies = [("sharding", "0002_buckets")]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("email", models.EmailField(max_length=254)),
                ("name", models.CharField(max_length=200)),
                ("password", models.CharField(help_text="A hash.", max_length=128)),
                ("is_staff", models.BooleanField(default=False)),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="EmailDirectory",
            fields=[
                ("email", models.CharField(help_text="Normalised.", max_length=254, primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
                (
                    "state",
                    models.TextField(
                        choices=[("pending", "Pending"), ("changing", "Changing"), ("active", "Active")],
                        default="pending",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="When it was reserved."
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user_id"], name="email_directory_by_user"),
                    models.Index(
                        condition=models.Q(("state", "active"), _negated=True),
                        fields=["created_at"],
                        name="email_directory_unsettled",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["pending", "changing", "active"])),
                        name="email_directory_state",
                    )
                ],
            },
        ),
        FenceTable("users_user"),
    ]
