#!/usr/bin/env bash
# make deploy: put this work tree's application, and its settings, in place of what runs, without losing a request.
# One new container is started beside the old ones and becomes healthy; then one old one is told to stop, and drains.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

main() {
  load_settings
  check_settings
  docker info >/dev/null 2>&1 && [[ -n $(compose ps --quiet web) ]] || fail "the stack is not up: run make up first"
  ! dev_runs || fail "the development stack runs: make up starts the whole one"
  check_connections $(($(count web) + 1)) # each service has one container more for a moment; web has the most
  remember_settings
  "$root/scripts/secrets.sh"
  step "Building the image"
  quietly "$state_dir/build.log" compose build web || fail "the image could not be built"
  start_added_servers
  step "Migrating the databases"
  quietly "$state_dir/migrate.log" migrate || fail "the databases could not be migrated; nothing was replaced"
  replace_all products orders users users-worker orders-worker worker beat
  replace_all web # which calls the others
  say "Deployed."
}

count() { compose ps --quiet "$1" | wc -l; }

start_added_servers() {
  local server known
  known=" $(compose config --services | tr '\n' ' ') "
  for server in ${EXTRA_REPLICAS//,/ } ${EXTRA_SHARDS//,/ }; do
    [[ $known == *" $server "* ]] || continue # not one of ours
    step "Starting $server"
    quietly "$state_dir/start.log" compose up --detach --wait --no-recreate "$server" || fail "$server did not become healthy"
  done
}

# The old containers go on meanwhile: a migration must suit them too.
migrate() {
  local container status
  docker rm "$(migrated)"
  compose up --detach --no-recreate migrate
  container=$(migrated)
  status=$(docker wait "$container")
  docker logs "$container"
  return "$status"
}

migrated() {
  docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter label=com.docker.compose.service=migrate --filter label=com.docker.compose.oneoff=False
}

# The services at the same time, the containers of each one after the other.
replace_all() {
  local service pids=() pid failed=''
  for service in "$@"; do
    replace "$service" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
  [[ -z $failed ]]
}

replace() {
  local service=$1 old one replicas
  replicas=$(count "$service")
  if ((replicas == 0)); then # the release brings it
    step "Starting $service"
    add "$service" 1 || fail "$service did not become healthy"
    return
  fi
  old=$(outdated "$service")
  [[ -n $old ]] || return 0
  step "Replacing $service"
  for one in $old; do
    if [[ $service != beat ]]; then # two of it would send each task twice
      add "$service" $((replicas + 1)) || fail "a new container of $service did not become healthy; the old ones go on"
    fi
    docker stop "$one" >/dev/null
    docker rm "$one" >/dev/null
  done
  run "$service" "$replicas" || fail "$service did not become healthy"
}

# run SERVICE REPLICAS: that many, new ones if need be; those that run are left alone. (Not with --no-deps: a container
# that was made so is another one to Compose, and the next `make up` would make it anew.)
run() {
  compose up --detach --wait --no-recreate --scale "$1=$2" "$1" >"$state_dir/deploy-$1.log" 2>&1 \
    || { tail -n 10 "$state_dir/deploy-$1.log" >&2; return 1; }
}

# add SERVICE REPLICAS: the same; a new one that did not become healthy is removed again, or the next deploy would count it
# and wait for it.
add() {
  local before one
  before=$(compose ps --all --quiet "$1")
  run "$@" && return
  for one in $(compose ps --all --quiet "$1"); do
    [[ $before == *"$one"* ]] || docker rm --force "$one" >/dev/null
  done
  return 1
}

# outdated SERVICE: its containers that run another image or other settings than they would be started with now.
outdated() {
  local image hash one
  image=$(docker image inspect --format '{{.Id}}' "$COMPOSE_PROJECT_NAME-app")
  hash=$(compose config --hash "$1" | cut -d ' ' -f 2)
  for one in $(compose ps --quiet "$1"); do
    [[ $(docker inspect --format '{{.Image}} {{index .Config.Labels "com.docker.compose.config-hash"}}' "$one") == "$image $hash" ]] \
      || echo "$one"
  done
}

main
