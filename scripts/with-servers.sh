#!/usr/bin/env bash
# with-servers.sh COMMAND...: run COMMAND beside a PostgreSQL and a Redis of its own, thrown away afterwards.
# For the in-process tests; it runs inside the tools image.
set -euo pipefail

export TEST_REDIS_PORT=6390
redis-server --port "$TEST_REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no --daemonize no --dir /tmp >/tmp/redis.log &
redis=$!
trap 'kill "$redis"' EXIT
pg_virtualenv -v 17 -o fsync=off "$@"
