"""Move buckets from shard to shard while users write. `docs/resharding.md` says how and why."""
