from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("products", "0002_images")]

    operations = [
        # PostgreSQL writes the table anew, with its indexes, and nobody reads it meanwhile.
        migrations.AlterField(
            model_name="product",
            name="sold",
            field=models.BigIntegerField(default=0, help_text="Only grows."),
        ),
    ]
