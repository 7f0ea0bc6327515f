#!/usr/bin/env bash
# with-servers.sh COMMAND...: run COMMAND beside a PostgreSQL and a Redis of its own, thrown away
# afterwards. For the in-process tests; it runs inside the tools image.
set -euo pipefail

export TEST_REDIS=/tmp/redis.sock # not a port: two runs may be at it on one machine
redis-server --port 0 --unixsocket "$TEST_REDIS" --save '' --appendonly no --daemonize no --dir /tmp >/tmp/redis.log &
redis=$!
trap 'kill "$redis"' EXIT
# A port that is free: of two runs that start at once each would take the same one.
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
# 50 threads at once, each with a connection to two databases, are more than the 100 of the default.
# UTF-8 as in production: with the locale of the image it would be ASCII.
pg_virtualenv -v 17 -c "--port=$port --locale=C.UTF-8" -o fsync=off -o max_connections=300 "$@"
