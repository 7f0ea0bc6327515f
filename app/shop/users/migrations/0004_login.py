"""Add the logins of refresh tokens. Tokens of the previous release have no login and expire."""

import django.db.models.functions.datetime
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models
from scaleout.sharding.fence import FenceTable


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0003_managers"),
    ]

    operations = [
        migrations.CreateModel(
            name="Login",
            fields=[
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
                (
                    "generation",
                    models.PositiveIntegerField(db_default=1, default=1, help_text="Of the newest refresh token."),
                ),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "refreshed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now
                    ),
                ),
                ("revoked_at", models.DateTimeField(default=None, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user_id"], name="login_by_user"),
                    models.Index(fields=["refreshed_at"], name="login_by_use"),
                    models.Index(
                        condition=models.Q(("revoked_at__isnull", False)), fields=["revoked_at"], name="login_revoked"
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("_rows", django.db.models.manager.Manager()),
            ],
        ),
        FenceTable("users_login", key="user_id"),
    ]
