#!/usr/bin/env bash
# postgres.sh primary [OPTION...] | postgres.sh standby HOST: one plain PostgreSQL server with its
# data in memory, so that no disk is shared by those that are compared. Runs in the stack's image
# `postgres`, without Patroni. OPTIONs are the server's.
set -euo pipefail

password=/run/secrets/db_shop_app

case $1 in
  primary)
    initdb --pgdata "$PGDATA" --username bench --pwfile "$password" --auth-local trust --auth-host scram-sha-256 \
      --data-checksums --encoding UTF8 --locale C.UTF-8 >/tmp/initdb
    printf 'host %s all samenet scram-sha-256\n' all replication >>"$PGDATA/pg_hba.conf"
    shift
    ;;
  standby)
    PGPASSWORD=$(<"$password")
    export PGPASSWORD
    for ((tries = 1; ; tries++)); do
      if pg_basebackup --host "$2" --username bench --pgdata "$PGDATA" --write-recovery-conf --checkpoint fast; then break; fi
      ((tries < 100)) || exit 1
      sleep 0.2
    done
    shift 2
    ;;
  *)
    printf 'usage: postgres.sh primary [OPTION...] | postgres.sh standby HOST\n' >&2
    exit 64
    ;;
esac
exec postgres -D "$PGDATA" -c listen_addresses='*' -c max_connections=300 -c shared_buffers=64MB "$@"
