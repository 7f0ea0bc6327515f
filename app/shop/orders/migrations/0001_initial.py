import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models
from scaleout.sharding.fence import FenceTable


class Migration(migrations.Migration):
    initial = True

    dependencies = [("sharding", "0002_buckets")]

    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("placed", "Placed"),
                            ("confirmed", "Confirmed"),
                            ("rejected", "Rejected"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="placed",
                    ),
                ),
                ("total", models.BigIntegerField(help_text="In minor units: cents for EUR, yen for JPY.")),
                ("currency", models.CharField(default="EUR", help_text="ISO 4217 code.", max_length=3)),
                ("archived", models.BooleanField(default=False)),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_default=django.db.models.functions.datetime.Now()),
                ),
                ("idempotency_key", models.CharField(max_length=200)),
            ],
            options={
                "indexes": [models.Index(fields=["user_id", "id"], name="order_by_user")],
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "idempotency_key"), name="order_idempotency"),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["placed", "confirmed", "rejected", "cancelled"])),
                        name="order_status",
                    ),
                    models.CheckConstraint(condition=models.Q(("total__gte", 0)), name="order_total_not_negative"),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[A-Z]{3}$")), name="order_currency_format"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("product_id", models.BigIntegerField()),
                ("quantity", models.IntegerField()),
                (
                    "unit_price",
                    models.BigIntegerField(help_text="In minor units, as it was when the order was placed."),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="items", to="orders.order"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gt", 0)), name="order_item_quantity_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("unit_price__gte", 0)), name="order_item_price_not_negative"
                    ),
                ],
            },
        ),
        FenceTable("orders_order", key="user_id"),
        FenceTable("orders_orderitem", key="order_id"),
    ]
