from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("products", "0002_images")]

    operations = [
        # PostgreSQL rewrites the table with its indexes and blocks reads until it has finished.
        migrations.AlterField(
            model_name="product",
            name="sold",
            field=models.BigIntegerField(default=0, help_text="Only grows."),
        ),
    ]
