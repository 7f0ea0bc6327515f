#!/usr/bin/env bash
# The short make targets: down, clean, ps, logs, scale.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

main() {
  local target=$1
  shift
  if ! docker info >/dev/null 2>&1; then
    # Nothing can be running; a daemon is started only to remove what an earlier one left behind.
    [[ $target == clean ]] || fail "no Docker engine answers: run make up first"
    if ! have dockerd; then forget; return; fi
    "$root/scripts/engine.sh"
  fi
  "$target" "$@"
}

# With every profile, so that no container of the other load balancer is left.
all() { COMPOSE_PROFILES='*' compose --profile nginx --profile haproxy --profile canary --profile cdn "$@"; }

down() { all down --remove-orphans; }

clean() {
  step "Removing the stack $COMPOSE_PROJECT_NAME"
  all down --volumes --remove-orphans --rmi all --timeout 10 2>&1 | grep -vE 'No resource found|not found' >&2 || true # nothing to say
  remove_leftovers
  forget
}

# What compose down does not know any more: containers, volumes and networks of an older compose.yaml.
remove_leftovers() {
  local label="label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" ids name
  ids=$(docker ps -aq --filter "$label") && [[ -z $ids ]] || xargs docker rm --force <<<"$ids" >/dev/null
  ids=$(docker volume ls -q --filter "$label") && [[ -z $ids ]] || xargs docker volume rm <<<"$ids" >/dev/null
  ids=$(docker network ls -q --filter "$label") && [[ -z $ids ]] || xargs docker network rm <<<"$ids" >/dev/null
  # The images of the tests and of the benches belong to no service.
  # By name: another stack's image may be the same one.
  for name in tools bench-tools; do
    ids=$(docker image ls -q "$COMPOSE_PROJECT_NAME-$name") && [[ -z $ids ]] || docker image rm "$COMPOSE_PROJECT_NAME-$name" >/dev/null
  done
}

# The secrets go with the last stack of this clone.
forget() {
  if have docker && docker info >/dev/null 2>&1 \
    && [[ -n $(docker ps -aq --filter "label=com.docker.compose.project.working_dir=$root") ]]; then
    say "    secrets/ and .env stay: another stack of this clone uses them"
    return
  fi
  local owner
  owner=$(recorded COMPOSE_PROJECT_NAME)
  if [[ -z $owner || $owner == "$COMPOSE_PROJECT_NAME" ]]; then rm -rf "$root/secrets" "$root/.env" "$state_dir"; fi
}

ps() { compose ps "$@"; }
logs() { compose logs --follow --tail 100 "$@"; }

scale() {
  local count=${1:-}
  [[ $count =~ ^[1-9][0-9]?$ ]] || fail "how many? make scale N=5"
  ((count <= 20)) || fail "N=$count: the load balancers have room for 20 replicas"
  ! dev_runs || fail "the development stack runs: make up starts the whole one"
  check_connections "$count"
  compose up --detach --wait --scale "web=$count"
}

main "$@"
