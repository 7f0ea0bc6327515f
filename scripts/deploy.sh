#!/usr/bin/env bash
# make deploy: replace the running application by this work tree's, with its settings, and lose no
# request. It leaves the load balancer, the databases and Redis alone: `make up` changes all. Only
# after a release in which all services shared one password it replaces Redis too.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/roll.sh
source "$(dirname "$0")/roll.sh"
cd "$root"

main() {
  load_settings
  check_settings
  take_lock "make deploy"
  docker info >/dev/null 2>&1 && [[ -n $(containers web) ]] || fail "the stack is not up: run make up first"
  ! dev_runs || fail "the development stack runs: make up starts the whole one"
  check_connections $(($(count web) + 1)) # each service has one container more for a moment; web has the most
  remember_settings
  "$root/scripts/secrets.sh"
  step "Building the image"
  quietly "$state_dir/build.log" compose build web || fail "the image could not be built"
  if upgrades; then export OLD_SESSIONS=1; fi
  look
  if upgrades; then replace_redis; fi
  start_added_servers
  migrate
  mapfile -t application < <(services app)
  roll "${application[@]}"
  end_upgrade "${application[@]}"
  say "Deployed."
}

# The release before knows no users of Redis but one: this one's need theirs before they start.
replace_redis() {
  local service
  quietly "$state_dir/build.log" compose build redis-cache || fail "the image of Redis could not be built"
  for service in $(services support); do
    if [[ $service == redis-* || $service == sentinel-* ]]; then replace "$service"; fi
  done
}

main
