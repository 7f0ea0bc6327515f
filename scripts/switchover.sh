#!/usr/bin/env bash
# Move the PostgreSQL primary to a replica that has every commit: Patroni does it, from inside a
# node.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

running=$(docker compose ps --services --status running 2>/dev/null | grep '^postgres-' | sort || :)
[[ -n $running ]] || fail "no PostgreSQL node is running: start the stack with make up"
node=${running%%$'\n'*}

step "Switching the primary over"
docker compose exec -T "$node" /opt/postgres/patroni_switchover.py
