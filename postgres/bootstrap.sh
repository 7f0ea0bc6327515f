#!/usr/bin/env bash
# Patroni runs this once, on the first primary of a new cluster: the roles and databases of DATABASES.
# A failure here makes Patroni throw the new cluster away and start again.
set -euo pipefail
here=$(dirname "$0")

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres "$@"; }

# Only who is named may connect: not even to PostgreSQL's own databases. Patroni gives `rewind` its password.
run --dbname postgres <<'SQL'
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
CREATE ROLE rewind NOLOGIN;
GRANT CONNECT ON DATABASE postgres TO rewind;
SQL

for owner in $(tr ' ' '\n' <<<"$DATABASES" | sed 's/.*://' | sort -u); do
  run --dbname postgres --set "owner=$owner" --file "$here/owner.sql"
done
for pair in $DATABASES; do
  run --dbname postgres --set "database=${pair%%:*}" --set "owner=${pair##*:}" --file "$here/database.sql"
done
