#!/usr/bin/env bash
# make dev: a small stack in which the next request shows a changed file of app/ (compose.dev.yaml).
# `dev.sh stop`, which `make up` calls, ends it. The data of both stacks stay.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

mapfile -t services < <(echo nginx && app_services | grep -vx migrate)
images=(nginx web postgres-1 etcd redis-cache swift) # the services that build them

start() {
  "$root/scripts/engine.sh"
  load_settings
  check_settings
  take_lock "make dev"
  remember_settings # which stack this is, so that a plain `docker compose` finds it; not that it is this kind
  "$root/scripts/secrets.sh"
  "$root/scripts/lb.sh" write
  "$root/scripts/base-image.sh"
  if whole_runs; then
    step "Stopping the whole stack: its data stay, and make up starts it again"
    take_down
  fi
  dev_settings
  build_images
  step "Starting the development stack"
  quietly "$state_dir/dev.log" timeout 600 docker compose up --detach --wait --wait-timeout 300 "${services[@]}" || {
    compose ps --all >&2
    compose logs --no-color --no-log-prefix --tail 15 migrate >&2 # a mistake in a migration or a model stops here
    fail "the development stack did not become healthy; 'make logs' shows why"
  }
  tell
}

stop() {
  load_settings
  if ! dev_runs; then return; fi
  step "Stopping the development stack: its data stay, and make dev starts it again"
  take_down
}

# A stack that is not of compose.dev.yaml, running or not.
whole_runs() { config_files | grep -vq compose.dev.yaml; }

take_down() { quietly "$state_dir/dev-down.log" "$root/scripts/stack.sh" down || fail "it could not be stopped"; }

# The application's code is in none of them: the containers read it from app/.
build_images() {
  local made=$state_dir/dev-images-$COMPOSE_PROJECT_NAME
  if [[ -s $made && $(images_and_sources) == "$(cat "$made")" ]]; then return; fi
  step "Building the images"
  quietly "$state_dir/build.log" docker compose build "${images[@]}" || fail "an image could not be built"
  images_and_sources >"$made"
}

images_and_sources() {
  local name
  for name in nginx app-dev postgres etcd redis swift; do
    docker image inspect --format '{{.Id}}' "$COMPOSE_PROJECT_NAME-$name" 2>/dev/null || echo none
  done
  docker image inspect --format '{{.Id}}' debian:trixie-slim 2>/dev/null || echo none
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --exclude=__pycache__ --exclude=tests \
    app/Dockerfile app/requirements.txt nginx postgres redis swift | sha256sum
}

tell() {
  cat <<TEXT

The development stack is up.

  shop   http://localhost:$HTTP_PORT/    https://localhost:$HTTPS_PORT/

A change of a file in app/ shows at the next request. Some more:
  make logs S=web                     the requests, their SQL, tracebacks
  make migrations                     write the migrations of changed models
  make manage CMD=migrate             apply them, in all databases
  make shell                          Python, with the models
  make up                             back to the whole stack
TEXT
}

"${1:-start}"
