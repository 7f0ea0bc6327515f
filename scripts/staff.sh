#!/usr/bin/env bash
# make staff: make the demo's staff user at first, then print nothing but a fresh token.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

[[ -n $(docker compose ps --quiet --status running users 2>/dev/null) ]] || fail "no running stack: run make up first"
# A container logs on standard output, where the token goes.
docker compose exec -T --env LOG_LEVEL=CRITICAL users python manage.py staff
