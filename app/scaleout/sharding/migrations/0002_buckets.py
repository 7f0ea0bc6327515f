"""The map, the buckets, and the functions of the fence."""

from django.db import migrations, models

# The map: each change of it, by any client, has a version of its own.
VERSION = """
CREATE FUNCTION sharding_new_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sharding_mapversion (id, version) VALUES (1, 1)
  ON CONFLICT (id) DO UPDATE SET version = sharding_mapversion.version + 1;
  RETURN NULL;
END $$;
CREATE TRIGGER sharding_new_version BEFORE INSERT OR UPDATE OR DELETE ON sharding_bucketmap
  FOR EACH STATEMENT EXECUTE FUNCTION sharding_new_version();

CREATE FUNCTION sharding_row_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT version INTO NEW.version FROM sharding_mapversion;
  RETURN NEW;
END $$;
CREATE TRIGGER sharding_row_version BEFORE INSERT OR UPDATE ON sharding_bucketmap
  FOR EACH ROW EXECUTE FUNCTION sharding_row_version();
"""

# The fence. FOR KEY SHARE, not FOR SHARE: taking an id updates the same row, and two transactions
# that both hold FOR SHARE would then wait for each other.
FENCE = """
CREATE FUNCTION sharding_fence() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  row_id bigint;
  found_state text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    row_id := NEW.id;
  ELSE
    row_id := OLD.id;
    IF TG_OP = 'UPDATE' AND NEW.id <> row_id THEN
      RAISE EXCEPTION 'the id of a sharded row never changes' USING ERRCODE = 'SB002';
    END IF;
  END IF;
  SELECT state INTO found_state FROM sharding_bucket WHERE bucket = ((row_id >> 11) & 1023)::smallint FOR KEY SHARE;
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
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    """Create them."""

    dependencies = [("sharding", "0001_initial")]
    operations = [
        migrations.CreateModel(
            name="BucketMap",
            fields=[
                ("bucket", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("shard", models.SmallIntegerField()),
                (
                    "version",
                    models.BigIntegerField(
                        default=0, help_text="The version of the map in which this row last changed."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MapVersion",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Bucket",
            fields=[
                ("bucket", models.SmallIntegerField(primary_key=True, serialize=False)),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("active", "Active"),
                            ("blocked", "Blocked"),
                            ("incoming", "Incoming"),
                            ("moved", "Moved"),
                        ],
                        default="active",
                    ),
                ),
                ("last", models.BigIntegerField(default=0)),
            ],
            options={
                "constraints": (
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["active", "blocked", "incoming", "moved"])),
                        name="sharding_bucket_state",
                    ),
                    models.UniqueConstraint(fields=("bucket", "state"), name="sharding_bucket_with_state"),
                )
            },
        ),
        migrations.RunSQL(
            VERSION,
            "DROP FUNCTION sharding_new_version, sharding_row_version CASCADE",
            hints={"model_name": "bucketmap"},
        ),
        migrations.RunSQL(
            FENCE,
            "DROP FUNCTION sharding_fence CASCADE",
            hints={"model_name": "bucket"},
        ),
    ]
