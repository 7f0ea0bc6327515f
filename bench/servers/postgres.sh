#!/usr/bin/env bash
# postgres.sh: one plain PostgreSQL server with its data in memory, so that no disk is shared by
# those that are compared. Runs in the stack's image `postgres`, without Patroni.
set -euo pipefail

initdb --pgdata "$PGDATA" --username bench --pwfile /run/secrets/db_shop_app --auth-local trust --auth-host scram-sha-256 \
  --data-checksums --encoding UTF8 --locale C.UTF-8 >/tmp/initdb
echo 'host all all samenet scram-sha-256' >>"$PGDATA/pg_hba.conf"
exec postgres -D "$PGDATA" -c listen_addresses='*' -c max_connections=300 -c shared_buffers=64MB
