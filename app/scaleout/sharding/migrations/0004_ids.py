"""Ids come from a sequence of the shard, which no rollback sets back."""

from django.db import migrations, models

# Half of what an id has for its body: see FIRST in ids.py.
SEQUENCE = """
CREATE SEQUENCE sharding_ids AS bigint;
-- Not where a move is under way: the mover hands the base over.
UPDATE sharding_bucket SET base = 1::bigint << 42 WHERE state IN ('active', 'blocked');
"""


class Migration(migrations.Migration):
    """Make it. The release before knows neither and continues to use `last`: its ids are in the
    lower half.
    """

    dependencies = [("sharding", "0003_moves")]
    operations = [
        migrations.AddField(
            model_name="bucket",
            name="base",
            field=models.BigIntegerField(null=True, help_text="What is added to the shard's sequence."),
        ),
        migrations.RunSQL(SEQUENCE, "DROP SEQUENCE sharding_ids", hints={"model_name": "bucket"}),
    ]
