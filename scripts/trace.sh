#!/usr/bin/env bash
# make trace ID=...: what one request did in all containers, in order of time. ID: of the request,
# or of its trace.
# TAIL=all reads all of each log; without it a full one is not read from its beginning, which takes the engine seconds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

main() {
  local LC_ALL=C id=${ID:-} tail=${TAIL:-20000}
  # The rule of the load balancers: nothing else can be in a log, and nothing else comes near a
  # command.
  [[ $id =~ ^[A-Za-z0-9._-]{1,128}$ ]] || fail "which? make trace ID=... with the X-Request-ID of an answer, or the id of a trace"
  [[ $tail =~ ^([1-9][0-9]{0,8}|all)$ ]] || fail "TAIL=$tail: must be a number of lines, or all"
  docker info >/dev/null 2>&1 || fail "no Docker engine answers: run make up first"
  docker image inspect "$COMPOSE_PROJECT_NAME-app" >/dev/null 2>&1 || fail "there is no stack $COMPOSE_PROJECT_NAME: run make up first"
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  collect "$id" "$tail"
  # Where Python is sure to be.
  cat "$logs"/* | docker run --rm --interactive --network none --read-only --cap-drop ALL \
    --entrypoint python "$COMPOSE_PROJECT_NAME-app" -m scaleout.observability.timeline "$id" "in its last lines (TAIL=$tail)"
}

# The lines about the request of every container, also of those that are stopped.
collect() { # id, lines of each
  local container name
  : >"$logs/none"
  # || true: grep fails where a container has no such line, and most have none.
  while read -r container name; do
    { timeout 60 docker logs --tail "$2" "$container" 2>&1 | grep -F -e "$1" | sed "s/^/$name\t/" >"$logs/$name"; } || true &
  done < <(docker ps --all --no-trunc --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter label=com.docker.compose.oneoff=False \
    --format '{{.ID}} {{.Label "com.docker.compose.service"}}-{{.Label "com.docker.compose.container-number"}}')
  wait
}

main
