"""The tables of moves: the moves beside the map, and in each shard a log of writes during a
move.
"""

from importlib import import_module

from django.db import migrations, models
from django.db.models.functions import Now

# The fence as before, which also logs each write of a bucket that is `logged`.
FENCE = """
CREATE OR REPLACE FUNCTION sharding_fence() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  row_id bigint;
  found_state text;
  noted boolean;
BEGIN
  IF TG_OP = 'INSERT' THEN
    row_id := NEW.id;
  ELSE
    row_id := OLD.id;
    IF TG_OP = 'UPDATE' AND NEW.id <> row_id THEN
      RAISE EXCEPTION 'the id of a sharded row never changes' USING ERRCODE = 'SB002';
    END IF;
  END IF;
  SELECT state, logged INTO found_state, noted FROM sharding_bucket
   WHERE bucket = ((row_id >> 11) & 1023)::smallint FOR KEY SHARE;
  IF found_state IS DISTINCT FROM 'active' THEN
    -- Only the mover writes here, and only the table's owner can be the mover, whatever a session sets.
    IF coalesce(found_state, '') NOT IN ('incoming', 'moved')
       OR coalesce(current_setting('sharding.mover', true), '') <> 'on'
       OR NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
      RAISE EXCEPTION 'bucket % takes no writes here: %', (row_id >> 11) & 1023,
        coalesce(found_state, 'not on this shard')
        USING ERRCODE = 'SB001', HINT = 'Read the map again.';
    END IF;
  END IF;
  IF noted THEN
    INSERT INTO sharding_change (name, row, bucket)
    VALUES (TG_TABLE_NAME, row_id, ((row_id >> 11) & 1023)::smallint);
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END $$;
"""
BEFORE = import_module("scaleout.sharding.migrations.0002_buckets").FENCE.replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)


class Migration(migrations.Migration):
    """Create it."""

    dependencies = [("sharding", "0002_buckets")]
    operations = [
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(help_text="The table.")),
                ("row", models.BigIntegerField()),
                ("bucket", models.SmallIntegerField()),
            ],
            options={"indexes": [models.Index(fields=["bucket"], name="sharding_change_by_bucket")]},
        ),
        migrations.CreateModel(
            name="Move",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("source", models.SmallIntegerField()),
                ("target", models.SmallIntegerField()),
                (
                    "step",
                    models.TextField(
                        choices=[
                            ("planned", "Planned"),
                            ("copying", "Copying"),
                            ("catching_up", "Catching Up"),
                            ("blocked", "Blocked"),
                            ("verified", "Verified"),
                            ("flipped", "Flipped"),
                            ("active", "Active"),
                            ("cleaned", "Cleaned"),
                            ("aborting", "Aborting"),
                            ("aborted", "Aborted"),
                        ],
                        default="planned",
                    ),
                ),
                ("created", models.DateTimeField(db_default=Now())),
                ("blocked", models.DateTimeField(null=True, help_text="When it last began to refuse writes.")),
                ("active", models.DateTimeField(null=True, help_text="When the target took them.")),
            ],
        ),
        migrations.CreateModel(
            name="MoveBucket",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("bucket", models.SmallIntegerField()),
                ("copied", models.BooleanField(db_default=False, default=False)),
                (
                    "move",
                    models.ForeignKey(on_delete=models.deletion.CASCADE, related_name="buckets", to="sharding.move"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("move", "bucket"), name="sharding_movebucket_once")]
            },
        ),
        migrations.AddField(
            model_name="bucket",
            name="logged",
            field=models.BooleanField(db_default=False, default=False, help_text="Whether writes are noted in Change."),
        ),
        migrations.RemoveConstraint(model_name="bucket", name="sharding_bucket_with_state"),
        migrations.AddConstraint(
            model_name="bucket",
            constraint=models.UniqueConstraint(fields=("bucket", "state", "logged"), name="sharding_bucket_with_state"),
        ),
        migrations.RunSQL(FENCE, BEFORE, hints={"model_name": "bucket"}),
    ]
