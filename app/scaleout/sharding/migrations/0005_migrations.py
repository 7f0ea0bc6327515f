"""A migration may change rows that a move has left behind or is about to bring; a transaction can
be for one bucket.
"""

from importlib import import_module

from django.db import migrations

# In a session of the tables' owner with `sharding.migration` on:
# - what is `moved` can be written: no reader uses this copy;
# - what is `incoming` can be written, and is noted: the mover sees it and copies the bucket again;
# - what is `blocked` is waited for, without a lock on the bucket, which would hold up the mover.
#   Where no mover is
#   alive (its lock is free) it can be written; the mover that resumes looks at it again.
FENCE = """
CREATE OR REPLACE FUNCTION sharding_fence() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  row_id bigint;
  number smallint;
  found_state text;
  noted boolean;
  owner boolean;
BEGIN
  IF TG_OP = 'INSERT' THEN
    row_id := NEW.id;
  ELSE
    row_id := OLD.id;
    IF TG_OP = 'UPDATE' AND NEW.id <> row_id THEN
      RAISE EXCEPTION 'the id of a sharded row never changes' USING ERRCODE = 'SB002';
    END IF;
  END IF;
  number := (row_id >> 11) & 1023;
  IF current_setting('sharding.bucket', true) <> '' AND current_setting('sharding.bucket', true) <> number::text THEN
    RAISE EXCEPTION 'a write to bucket % in a transaction on bucket %',
      number, current_setting('sharding.bucket', true) USING ERRCODE = 'SB003';
  END IF;
  SELECT state, logged INTO found_state, noted FROM sharding_bucket
   WHERE bucket = number AND state <> 'blocked' FOR KEY SHARE;
  IF found_state IS DISTINCT FROM 'active' THEN
    -- Only the table's owner can be the mover or a migration, whatever a session sets.
    owner := pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE');
    IF owner AND current_setting('sharding.mover', true) = 'on' THEN
      NULL;
    ELSIF owner AND current_setting('sharding.migration', true) = 'on' THEN
      FOR tenths IN 1..300 LOOP
        EXIT WHEN found_state IS NOT NULL OR NOT EXISTS (SELECT FROM sharding_bucket WHERE bucket = number);
        IF pg_try_advisory_xact_lock_shared(7241002) THEN
          SELECT 'moved', logged INTO found_state, noted FROM sharding_bucket WHERE bucket = number FOR KEY SHARE;
          EXIT;
        END IF;
        PERFORM pg_sleep(0.1);
        SELECT state, logged INTO found_state, noted FROM sharding_bucket
         WHERE bucket = number AND state <> 'blocked' FOR KEY SHARE;
      END LOOP;
      noted := noted OR found_state = 'incoming';
    ELSE
      found_state := NULL;
    END IF;
    IF found_state IS NULL THEN
      SELECT state INTO found_state FROM sharding_bucket WHERE bucket = number;
      RAISE EXCEPTION 'bucket % takes no writes here: %', number, coalesce(found_state, 'not on this shard')
        USING ERRCODE = 'SB001', HINT = 'Read the map again.';
    END IF;
  END IF;
  IF noted THEN
    INSERT INTO sharding_change (name, row, bucket) VALUES (TG_TABLE_NAME, row_id, number);
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    """Change the fence."""

    dependencies = [("sharding", "0004_ids")]
    operations = [
        migrations.RunSQL(
            FENCE, import_module("scaleout.sharding.migrations.0003_moves").FENCE, hints={"model_name": "bucket"}
        ),
    ]
