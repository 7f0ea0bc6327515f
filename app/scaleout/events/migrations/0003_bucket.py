import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0002_headers")]

    operations = [
        # The default is stable, so PostgreSQL adds the column without rewriting the table. It is
        # null in each row that exists: of which bucket these are is not known.
        migrations.AddField(
            model_name="outbox",
            name="bucket",
            field=models.SmallIntegerField(
                db_default=django.db.models.functions.comparison.Cast(
                    django.db.models.functions.comparison.NullIf(
                        models.Func(
                            models.Value("sharding.bucket"),
                            models.Value(True),
                            function="current_setting",
                            output_field=models.TextField(),
                        ),
                        models.Value(""),
                    ),
                    models.SmallIntegerField(),
                ),
                help_text="The session's setting `sharding.bucket`: which bucket its transaction was for. Null: none.",
                null=True,
            ),
        ),
    ]
