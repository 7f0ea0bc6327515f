#!/usr/bin/env bash
# Create or update the roles, passwords and databases of DATABASES. Idempotent. Patroni runs it on
# the first primary of a new cluster, where an error makes Patroni discard the cluster and start
# again. Patroni also runs it after each start and change of role, with three words: the event, the
# role of this server, the cluster.
set -euo pipefail
here=$(dirname "$0")

if [[ $# -eq 3 && $2 != primary ]]; then exit; fi

# Local commits: a primary without a standby must not wait for one here. No statement is logged,
# so no password is.
export PGHOST=/run/postgresql PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=5
export PGOPTIONS="-c synchronous_commit=local -c statement_timeout=60s -c lock_timeout=10s \
-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic"

run() { timeout 90 psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@"; }

# Patroni calls this right after it has requested the promotion, which may not be done.
promoted() {
  local attempt
  for attempt in {1..60}; do
    if [[ $(run --tuples-only --no-align --command 'SELECT pg_is_in_recovery()' 2>/dev/null) == f ]]; then return; fi
    sleep 0.5
  done
  echo "postgres: roles not applied: no primary here after $attempt attempts" >&2
  return 1
}

promoted

# Only the named roles may connect, also to PostgreSQL's own databases. Patroni grants `rewind` its
# rights.
run <<'SQL'
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
SELECT 'CREATE ROLE rewind NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rewind') \gexec
GRANT CONNECT ON DATABASE postgres TO rewind;
SQL

passwords=(replicator=postgres_replicator rewind=postgres_rewind)
for owner in $(tr ' ' '\n' <<<"$DATABASES" | sed 's/.*://' | sort -u); do
  run --set "owner=$owner" --file "$here/owner.sql"
  passwords+=("${owner}_owner=db_${owner}_owner" "${owner}_app=db_${owner}_app")
done
timeout 90 "$here/patroni_passwords.py" "${passwords[@]}"
for pair in $DATABASES; do
  run --set "database=${pair%%:*}" --set "owner=${pair##*:}" --file "$here/database.sql"
done
