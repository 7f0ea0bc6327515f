#!/usr/bin/env bash
# The short make targets: down, clean, ps, logs (S=), scale (N=).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

main() {
  local target=$1
  case $target in down | clean | scale) take_lock "make $target" ;; esac
  if ! docker info >/dev/null 2>&1; then
    # Nothing can be running; a daemon is started only to remove what an earlier one left behind.
    [[ $target == clean ]] || fail "no Docker engine answers: run make up first"
    if ! have dockerd; then forget; return; fi
    "$root/scripts/engine.sh"
  fi
  "$target"
}

# With every profile, so that no container of the other load balancer is left.
all() { COMPOSE_PROFILES='*' compose --profile nginx --profile haproxy --profile canary --profile cdn "$@"; }

down() {
  all down --remove-orphans
  remove_networks
}

clean() {
  step "Removing the stack $COMPOSE_PROJECT_NAME"
  all down --volumes --remove-orphans --rmi all --timeout 10 2>&1 | grep -vE 'No resource found|not found' >&2 || true # nothing to say
  remove_leftovers
  rm -rf "$root/secrets/lb-$COMPOSE_PROJECT_NAME" "$state_dir"/{lb,images,roll}-"$COMPOSE_PROJECT_NAME"*
  forget
}

remove_networks() {
  local ids
  ids=$(docker network ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")
  [[ -z $ids ]] || xargs docker network rm <<<"$ids" >/dev/null || : # something else is attached, and docker has said so
}

# What compose down no longer knows: containers, volumes and networks of an older
# compose.yaml.
remove_leftovers() {
  local label="label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" ids name
  ids=$(docker ps -aq --filter "$label") && [[ -z $ids ]] || xargs docker rm --force <<<"$ids" >/dev/null
  ids=$(docker volume ls -q --filter "$label") && [[ -z $ids ]] || xargs docker volume rm <<<"$ids" >/dev/null
  remove_networks
  # The images of the tests, of the benches and of make dev belong to no service of compose.yaml.
  # By name: another stack's image may be the same one.
  for name in tools bench-tools app-dev; do
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

ps() {
  local service port status
  compose ps
  "$root/scripts/lb.sh" show
  "$root/scripts/certificates.sh" show
  while read -r service port status; do
    answers "$port" || say "warning: port $port of $service does not answer on 127.0.0.1: $(why "$status")"
  done < <(published)
}

# "SERVICE PORT STATUS" of each port that this stack publishes.
published() {
  local service status ports port
  while IFS=$'\t' read -r service status ports; do
    for port in $(grep -oE '\.[0-9]+:[0-9]+->' <<<"$ports" | grep -oE '[0-9]+->' | tr -d '>-'); do
      echo "$service $port $status"
    done
  done < <(docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --format '{{.Label "com.docker.compose.service"}}	{{.Status}}	{{.Ports}}')
}

# Any answer counts, also the refusal of plain HTTP at the https port; without one a TLS handshake.
answers() {
  local line=''
  { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
  printf 'GET /health/live HTTP/1.0\r\n\r\n' >&3 2>/dev/null
  read -r -t 3 line <&3 2>/dev/null || :
  exec 3<&- 3>&-
  [[ $line == HTTP/* ]] || timeout 3 openssl s_client -connect "127.0.0.1:$1" </dev/null >/dev/null 2>&1
}

why() { # STATUS
  if [[ $1 != *"(healthy)"* ]]; then
    echo "its container is not healthy ($1)"
  else
    echo "its container is healthy, so Docker's proxy for this port has probably ended: docs/operating.md"
  fi
}

logs() {
  if [[ -n ${S:-} ]] && ! COMPOSE_PROFILES='*' compose config --services | grep -qxF -e "$S"; then # Compose would print nothing
    fail "S=$(shown "$S"): no such service; make logs S=web"
  fi
  compose logs --follow --tail 100 ${S:+-- "$S"}
}

scale() {
  local count=${N:-}
  [[ $count =~ ^[1-9][0-9]?$ ]] || fail "how many? make scale N=5"
  ((count <= 20)) || fail "N=$count: the load balancers have room for 20 replicas"
  ! dev_runs || fail "the development stack runs: make up starts the whole one"
  check_connections "$count"
  rm -f "$state_dir/roll-$COMPOSE_PROJECT_NAME-web" # of a roll that was killed
  compose up --detach --wait --no-recreate --scale "web=$count" # what is outdated is for make up
}

main "$@"
