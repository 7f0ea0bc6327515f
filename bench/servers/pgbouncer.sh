#!/usr/bin/env bash
# PgBouncer in transaction mode in front of `primary`. The password is known to it in the clear: it needs it for its own connections by SCRAM.
set -euo pipefail

umask 077
printf '"bench" "%s"\n' "$(</run/secrets/db_shop_app)" >/tmp/users
cat >/tmp/pgbouncer.ini <<END
[databases]
postgres = host=primary
[pgbouncer]
listen_addr = *
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /tmp/users
pool_mode = transaction
default_pool_size = ${POOL_SIZE:?}
max_client_conn = 500
max_prepared_statements = 200
server_tls_sslmode = disable
client_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
END
exec pgbouncer /tmp/pgbouncer.ini
